package server

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"inbox/internal/park"
)

// admit counts a new connection. It closes the connection and returns false if its client
// has too many, or keeps opening them although the server refuses its requests. Only the
// PROXY protocol has been read from the connection so far.
func (s *Server) admit(conn net.Conn) bool {
	if !s.trusts(conn) {
		if s.config.Clients.Connect(peerOf(conn).Addr(), s.config.TLS != nil) != nil {
			conn.Close()
			return false
		}
	}
	s.open.Add(1)
	s.accepted.Add(1)
	s.counts(headingOf(conn), conn)
	return true
}

// counts makes incomplete headers count for conn's client, unless that is a proxy.
func (s *Server) counts(h *heading, conn net.Conn) {
	if h != nil && !s.trusts(conn) {
		h.client = peerOf(conn).Addr()
	}
}

// Connections returns how many connections are open now and how many have been accepted
// in total.
func (s *Server) Connections() (open, accepted int64) { return s.open.Load(), s.accepted.Load() }

// left counts the end of an admitted connection. client is the address in its RemoteAddr.
func (s *Server) left(client netip.Addr) {
	s.open.Add(-1)
	trusted := s.config.Proxies.Trusted.Has(client)
	if !client.IsValid() { // a Unix socket
		client, trusted = local.Addr(), s.config.Proxies.Trusted.Unix
	}
	if !trusted {
		s.config.Clients.Disconnect(client)
	}
}

// share counts a request through a proxy as a connection of its client, for as long as
// the request is handled or parked, and calls next. The proxy's own connections are
// shared among its clients.
func (s *Server) share(client netip.Addr, w http.ResponseWriter, r *http.Request, next http.Handler) {
	s.config.Clients.Share(client)
	if r.ProtoMajor >= 2 { // HTTP/2 requests wait in their handlers
		defer s.config.Clients.Disconnect(client)
		next.ServeHTTP(w, r)
		return
	}
	park.Share(r.Context(), client)
	defer func() {
		if park.Unshare(r.Context()) {
			s.config.Clients.Disconnect(client)
		}
	}()
	next.ServeHTTP(w, r)
}

// connState tracks the ends of the connections that net/http has. The Lot reports the
// ends of parked ones.
func (s *Server) connState(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateIdle:
		if h := headingOf(conn); h != nil {
			h.next()
		}
	case http.StateClosed:
		s.left(addressOf(conn))
	}
}

// addressOf is peerOf, except that it is invalid for a Unix socket.
func addressOf(conn net.Conn) netip.Addr {
	if _, ok := conn.RemoteAddr().(*net.UnixAddr); ok {
		return netip.Addr{}
	}
	return peerOf(conn).Addr()
}

// counted is an admitted connection of the other protocol.
type counted struct {
	net.Conn
	s    *Server
	once sync.Once
}

// NetConn returns the wrapped connection.
func (c *counted) NetConn() net.Conn { return c.Conn }

func (c *counted) Close() error {
	c.once.Do(func() { c.s.left(addressOf(c.Conn)) })
	return c.Conn.Close()
}
