package inboxhttp

import (
	"context"
	"net/netip"

	"inbox/internal/park"
)

// client is who waits for an answer.
type client struct {
	ctx    context.Context // ends when net/http sees the client leave
	addr   netip.Addr      // may be invalid
	http2  bool
	waited bool // it asked a while ago
}

// present reports whether the client is there to read an answer: it has neither
// closed nor reset its connection, nor its stream.
func (c client) present() bool {
	return c.ctx.Err() == nil && (!c.waited || park.StateOf(c.ctx) == park.Open)
}

// delivered reports whether what was just flushed was not refused. A client that
// closes without having read it resets the connection (RFC 9293, 3.10.4), one
// that has read it may well have closed by now. A stream of HTTP/2 has not ended
// yet: there is no reason to leave it but not wanting it.
func (c client) delivered() bool {
	if c.http2 && c.ctx.Err() != nil {
		return false
	}
	return park.StateOf(c.ctx) != park.Reset
}
