package server

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"inbox/internal/park"
)

// admit counts a new connection, or closes it and reports false: its client has as many
// as it may, or goes on opening them although the server refuses what comes over them.
// Nothing was read from the connection yet but what a proxy says.
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

// counts has headers count for the client of conn, unless that is a proxy.
func (s *Server) counts(h *heading, conn net.Conn) {
	if h != nil && !s.trusts(conn) {
		h.client = peerOf(conn).Addr()
	}
}

// Connections returns how many connections are open, and how many were accepted so far.
func (s *Server) Connections() (open, accepted int64) { return s.open.Load(), s.accepted.Load() }

// left counts the end of a connection that was admitted, from the address that its
// RemoteAddr has.
func (s *Server) left(client netip.Addr) {
	s.open.Add(-1)
	trusted := s.config.Proxies.Trusted.Has(client)
	if !client.IsValid() { // the connection is not the network's
		client, trusted = local.Addr(), s.config.Proxies.Trusted.Unix
	}
	if !trusted {
		s.config.Clients.Disconnect(client)
	}
}

// share counts a request that came through a proxy as a connection of its client, as long
// as it waits too, and calls next. The proxy shares its own connections among clients.
func (s *Server) share(client netip.Addr, w http.ResponseWriter, r *http.Request, next http.Handler) {
	s.config.Clients.Share(client)
	if r.ProtoMajor >= 2 { // it waits in its handler
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

// connState hears of the ends of the connections that net/http has. Those that it has
// lent to the Lot end there.
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

// addressOf is like peerOf, but not valid for a Unix socket.
func addressOf(conn net.Conn) netip.Addr {
	if _, ok := conn.RemoteAddr().(*net.UnixAddr); ok {
		return netip.Addr{}
	}
	return peerOf(conn).Addr()
}

// counted is an admitted connection of another protocol than HTTP.
type counted struct {
	net.Conn
	s    *Server
	once sync.Once
}

// NetConn is the connection beneath.
func (c *counted) NetConn() net.Conn { return c.Conn }

func (c *counted) Close() error {
	c.once.Do(func() { c.s.left(addressOf(c.Conn)) })
	return c.Conn.Close()
}
