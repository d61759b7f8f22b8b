package server

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"inbox/internal/park"
)

// Other is a protocol beside HTTP on the port of HTTPS. The server recognizes its
// connections by the protocol that the client names in ALPN, or without ALPN by the first
// byte.
type Other struct {
	ALPN   []string
	Begins func(first byte) bool
	// Serve takes ownership of conn, whose RemoteAddr is the client's. It runs in a
	// goroutine of its own, and Server.End does not wait for it.
	Serve func(conn net.Conn)
}

// lingers reports whether the server reads from conn before it hands conn to net/http or
// Other.
func (s *Server) lingers(conn net.Conn) bool {
	return s.config.Other != nil && s.config.TLS != nil || s.tellsAddress(conn)
}

// tellsAddress reports whether conn begins with the PROXY protocol.
func (s *Server) tellsAddress(conn net.Conn) bool {
	return s.config.Proxies.Protocol && s.trusts(conn)
}

// secure puts conn beneath TLS, if that is on.
func (s *Server) secure(conn net.Conn) net.Conn {
	if k, ok := conn.(park.Kernel); ok && s.config.Proxies.Protocol && !s.tellsAddress(conn) {
		conn = &unproxied{Kernel: k, refusals: s.config.Refusals}
	}
	return s.beneath(conn)
}

func (s *Server) beneath(conn net.Conn) net.Conn {
	if s.config.TLS == nil {
		return conn
	}
	if s.config.Beneath != nil {
		conn = s.config.Beneath(conn)
	}
	return park.Secure(conn, s.config.TLS)
}

// arrive reads the PROXY protocol and finishes the TLS handshake, where there are any, and
// hands the connection to net/http or Other. Both together may take as long as a header
// of HTTP.
func (s *Server) arrive(conn net.Conn) {
	if !s.listener.arrivals.add(conn) {
		return
	}
	raw := conn
	conn.SetDeadline(time.Now().Add(s.HTTP.ReadHeaderTimeout))
	conn, admitted, err := s.approach(conn)
	client, other := netip.Addr{}, false
	if admitted {
		client = addressOf(conn)
		conn, other, err = s.welcome(conn)
	}
	s.listener.arrivals.remove(raw)
	if err != nil {
		s.config.Log.Debug("a connection did not begin as it has to", "error", anonymous(err.Error()))
		raw.Close()
		if admitted {
			s.left(client)
		}
	}
	if err != nil || !admitted {
		return
	}
	conn.SetDeadline(time.Time{})
	if other {
		s.config.Other.Serve(&counted{Conn: conn, s: s})
		return
	}
	s.listener.put(conn, nil)
}

// approach reads the address that a proxy tells, and puts conn beneath TLS. It reports
// whether the connection is admitted, which one without such an address is already.
func (s *Server) approach(conn net.Conn) (c net.Conn, admitted bool, err error) {
	if !s.tellsAddress(conn) {
		return s.secure(conn), true, nil
	}
	if conn, err = s.located(conn); err != nil || !s.admit(conn) {
		return nil, false, err
	}
	return s.beneath(conn), true, nil
}

// welcome reports whether the connection is for Other.
func (s *Server) welcome(conn net.Conn) (c net.Conn, other bool, err error) {
	secure, ok := conn.(*tls.Conn)
	if !ok || s.config.Other == nil {
		return conn, false, nil
	}
	if err := secure.Handshake(); err != nil {
		return nil, false, err
	}
	if named := secure.ConnectionState().NegotiatedProtocol; named != "" {
		return conn, slices.Contains(s.config.Other.ALPN, named), nil
	}
	first := make([]byte, 1)
	if _, err := secure.Read(first); err != nil {
		return nil, false, err
	}
	return park.Unread(conn, first), s.config.Other.Begins(first[0]), nil
}

// arrivals are the connections that net/http does not have yet. Closing the server closes
// them.
type arrivals struct {
	mu     sync.Mutex // guards what follows
	conns  map[net.Conn]bool
	closed bool
}

// add reports false, and closes conn, if the arrivals are closed.
func (a *arrivals) add(conn net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		conn.Close()
		return false
	}
	if a.conns == nil {
		a.conns = make(map[net.Conn]bool)
	}
	a.conns[conn] = true
	return true
}

func (a *arrivals) remove(conn net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, conn)
}

// close closes all that there are, and all that are added later.
func (a *arrivals) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for conn := range a.conns {
		conn.Close()
	}
}
