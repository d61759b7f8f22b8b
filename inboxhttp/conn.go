package inboxhttp

import (
	"context"
	"net/netip"

	"inbox/internal/park"
)

// client describes the connection that an answer goes to.
type client struct {
	ctx    context.Context // canceled when net/http notices that the client has left
	addr   netip.Addr      // may be invalid
	http2  bool
	waited bool // the request waited before it was answered
}

// present reports whether the client can still read an answer: it has neither closed nor
// reset its connection or stream.
func (c client) present() bool {
	return c.ctx.Err() == nil && (!c.waited || park.StateOf(c.ctx) == park.Open)
}

// delivered reports whether the client accepted what was just flushed, as far as the
// kernel knows. A client that closes with unread bytes resets the connection (RFC 9293,
// 3.10.4). After an orderly close, the client may have read the answer. A canceled HTTP/2
// stream means that it has not, because the server has not ended the stream yet.
func (c client) delivered() bool {
	if c.http2 && c.ctx.Err() != nil {
		return false
	}
	return park.StateOf(c.ctx) != park.Reset
}
