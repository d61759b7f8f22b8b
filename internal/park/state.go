package park

import (
	"context"
	"net"
	"net/netip"
)

// State is what the kernel knows of a TCP connection.
type State int

const (
	Open   State = iota // or nobody knows
	Closed              // by the client, in order
	Reset
)

type contextKey struct{}

// stay is a connection as long as net/http has it.
type stay struct {
	conn  net.Conn
	guest netip.Addr // see Share
}

// ConnContext is for http.Server.ConnContext: the handlers can then park the connection
// of a request, and ask the kernel about it.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, contextKey{}, &stay{conn: c})
}

// ConnOf returns the connection that ConnContext has put into ctx, or nil.
func ConnOf(ctx context.Context) net.Conn {
	if s, ok := ctx.Value(contextKey{}).(*stay); ok {
		return s.conn
	}
	return nil
}

// Share notes the client of a request over HTTP/1 whose connection a proxy shares among
// clients. Call Unshare when the handler has returned.
func Share(ctx context.Context, client netip.Addr) {
	if s, ok := ctx.Value(contextKey{}).(*stay); ok {
		s.guest = client
	}
}

// Unshare forgets the client, and reports whether there was one. There is none if a Spot
// has taken it over: see Spot.For.
func Unshare(ctx context.Context) bool {
	s, ok := ctx.Value(contextKey{}).(*stay)
	if !ok || !s.guest.IsValid() {
		return false
	}
	s.guest = netip.Addr{}
	return true
}

// For takes over the client that Share has noted for the request of ctx, if any. Lot.Left
// hears of the client when the spot has ended. Call it before Begin.
func (s *Spot) For(ctx context.Context) {
	stay, ok := ctx.Value(contextKey{}).(*stay)
	if !ok || !stay.guest.IsValid() || s.lot.left == nil {
		return
	}
	s.guest = true
	s.lot.mu.Lock()
	defer s.lot.mu.Unlock()
	s.lot.guests.Put(s.id, stay.guest)
	stay.guest = netip.Addr{}
}

// Context returns a context whose connection is that of s, for StateOf.
func (s *Spot) Context() context.Context {
	return context.WithValue(context.Background(), contextKey{}, s)
}

// StateOf returns the state of the connection in ctx: that of ConnContext, or of a
// Spot.
func StateOf(ctx context.Context) (state State) {
	ask := func(fd uintptr) { state = socketState(int(fd)) }
	c := ConnOf(ctx)
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
