package inboxhttp

import (
	"context"
	"net"
	"syscall"

	"inbox/internal/park"
)

type connKey struct{}

// ConnContext is for http.Server.ConnContext: it lets the handler ask the kernel
// about a connection. Without it a handler knows only what net/http has noticed
// by then.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// client is who waits for an answer.
type client struct {
	ctx    context.Context // ends when net/http sees the client leave
	http2  bool
	waited bool // it asked a while ago
}

// present reports whether the client is there to read an answer: it has neither
// closed nor reset its connection, nor its stream.
func (c client) present() bool {
	return c.ctx.Err() == nil && (!c.waited || state(c.ctx) == open)
}

// delivered reports whether what was just flushed was not refused. A client that
// closes without having read it resets the connection (RFC 9293, 3.10.4), one
// that has read it may well have closed by now. A stream of HTTP/2 has not ended
// yet: there is no reason to leave it but not wanting it.
func (c client) delivered() bool {
	if c.http2 && c.ctx.Err() != nil {
		return false
	}
	return state(c.ctx) != reset
}

type connState int

const (
	open   connState = iota // or nobody knows
	closed                  // by the client, in order
	reset
)

func state(ctx context.Context) connState {
	s := open
	ask := func(fd uintptr) { s = socketState(int(fd)) }
	c := ctx.Value(connKey{})
	if spot, ok := c.(*park.Spot); ok {
		spot.Control(ask)
		return s
	}
	for { // TLS, and connections of which we have read already
		inner, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = inner.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return open
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return reset
	}
	if err := raw.Control(ask); err != nil {
		return reset
	}
	return s
}
