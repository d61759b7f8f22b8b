package park

import (
	"context"
	"net"
	"net/netip"
)

// State is the state of a TCP connection according to the kernel.
type State int

const (
	Open   State = iota // or unknown
	Closed              // in order, by the client
	Reset
)

type contextKey struct{}

// stay describes a connection while net/http has it.
type stay struct {
	conn  net.Conn
	guest netip.Addr // set by Share
}

// ConnContext is a value for http.Server.ConnContext. It allows handlers to park the
// connection of a request and to query its state.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, contextKey{}, &stay{conn: c})
}

// ConnOf returns the connection that ConnContext has stored in ctx, or nil.
func ConnOf(ctx context.Context) net.Conn {
	if s, ok := ctx.Value(contextKey{}).(*stay); ok {
		return s.conn
	}
	return nil
}

// Share records the client of an HTTP/1 request whose connection a proxy shares among
// clients. Call Unshare when the handler has returned.
func Share(ctx context.Context, client netip.Addr) {
	if s, ok := ctx.Value(contextKey{}).(*stay); ok {
		s.guest = client
	}
}

// Unshare removes the client and reports whether there was one. There is no client if a
// Spot has taken it over with Spot.For.
func Unshare(ctx context.Context) bool {
	s, ok := ctx.Value(contextKey{}).(*stay)
	if !ok || !s.guest.IsValid() {
		return false
	}
	s.guest = netip.Addr{}
	return true
}

// For takes over the client that Share has recorded for the request of ctx, if any. When
// the spot ends, the function given to Lot.Left is called with it. Call For before Begin.
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

// Context returns a context for StateOf.
func (s *Spot) Context() context.Context {
	return context.WithValue(context.Background(), contextKey{}, s)
}

// StateOf returns the state of the connection in ctx, which comes from ConnContext or
// Spot.Context.
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
	if err := raw.Control(ask); err != nil || state == Closed && wasReset(c) {
		return Reset
	}
	return state
}
