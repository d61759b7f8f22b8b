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

// Other is another protocol on the HTTPS port. The server recognizes its connections by
// the protocol that the client names in ALPN or, without ALPN, by the first byte.
type Other struct {
	ALPN   []string
	Begins func(first byte) bool
	// Serve takes ownership of conn, whose RemoteAddr is the client's. It runs in a new
	// goroutine, for which Server.End does not wait.
	Serve func(conn net.Conn)
}

// readsFirst reports whether the server must read from conn before it passes conn to
// net/http or Other.
func (s *Server) readsFirst(conn net.Conn) bool {
	return s.config.Other != nil && s.config.TLS != nil || s.usesProxyProtocol(conn)
}

// usesProxyProtocol reports whether conn must begin with the PROXY protocol.
func (s *Server) usesProxyProtocol(conn net.Conn) bool {
	return s.config.Proxies.Protocol && s.trusts(conn)
}

// secure puts TLS on conn if TLS is on, and refuses the PROXY protocol from untrusted
// peers.
func (s *Server) secure(conn net.Conn) net.Conn {
	if k, ok := conn.(park.Kernel); ok && s.config.Proxies.Protocol && !s.usesProxyProtocol(conn) {
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

// arrive reads the PROXY protocol and performs the TLS handshake, as needed, and passes
// the connection to net/http or Other. Both steps together have the time limit of an HTTP
// header.
func (s *Server) arrive(conn net.Conn) {
	if !s.listener.arrivals.add(conn) {
		return
	}
	raw := conn
	conn.SetDeadline(time.Now().Add(s.HTTP.ReadHeaderTimeout))
	conn, admitted, err := s.readAddress(conn)
	client, other := netip.Addr{}, false
	if admitted {
		client = addressOf(conn)
		conn, other, err = s.classify(conn)
	}
	s.listener.arrivals.remove(raw)
	if err != nil {
		s.config.Log.Debug("a connection started incorrectly", "error", anonymous(err.Error()))
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

// readAddress reads the PROXY protocol, if conn uses it, and puts TLS on conn. It reports
// whether the connection is admitted. A connection without the PROXY protocol was
// admitted before.
func (s *Server) readAddress(conn net.Conn) (c net.Conn, admitted bool, err error) {
	if !s.usesProxyProtocol(conn) {
		return s.secure(conn), true, nil
	}
	if conn, err = s.located(conn); err != nil || !s.admit(conn) {
		return nil, false, err
	}
	return s.beneath(conn), true, nil
}

// classify performs the handshake and reports whether the connection is for Other.
func (s *Server) classify(conn net.Conn) (c net.Conn, other bool, err error) {
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

// arrivals has the connections that net/http does not know yet. Closing the server closes
// them.
type arrivals struct {
	mu     sync.Mutex // guards the fields below
	conns  map[net.Conn]bool
	closed bool
}

// add adds conn. If the arrivals are closed, it closes conn and returns false.
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

// close closes all connections, including those added later.
func (a *arrivals) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for conn := range a.conns {
		conn.Close()
	}
}
