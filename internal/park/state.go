package park

import (
	"context"
	"net"
)

// State is what the kernel knows of a TCP connection.
type State int

const (
	Open   State = iota // or nobody knows
	Closed              // by the client, in order
	Reset
)

type contextKey struct{}

// ConnContext is for http.Server.ConnContext: the handlers can then park the connection
// of a request, and ask the kernel about it.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// ConnOf returns the connection that ConnContext has put into ctx, or nil.
func ConnOf(ctx context.Context) net.Conn {
	c, _ := ctx.Value(contextKey{}).(net.Conn)
	return c
}

// Context returns a context whose connection is that of s, for StateOf.
func (s *Spot) Context() context.Context {
	return context.WithValue(context.Background(), contextKey{}, s)
}

// StateOf returns the state of the connection in ctx: that of ConnContext, or of a
// Spot.
func StateOf(ctx context.Context) (state State) {
	ask := func(fd uintptr) { state = socketState(int(fd)) }
	c, _ := ctx.Value(contextKey{}).(net.Conn)
	if s, ok := ctx.Value(contextKey{}).(*Spot); ok {
		if s.reader == nil {
			ask(uintptr(s.fd))
			return state
		}
		c = s.reader.conn
	}
	k := kernelConn(c)
	if k == nil {
		return Open
	}
	raw, err := k.SyscallConn()
	if err != nil {
		return Reset
	}
	if err := raw.Control(ask); err != nil {
		return Reset
	}
	return state
}
