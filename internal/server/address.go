package server

import (
	"net"
	"net/http"
	"net/netip"

	"inbox/internal/clientaddr"
	"inbox/internal/meter"
	"inbox/internal/park"
)

// Proxies configures which proxies may send the address of a client, and in which form.
type Proxies struct {
	Trusted  clientaddr.Trusted
	Header   clientaddr.Header // default X-Forwarded-For
	Protocol bool              // every connection from them begins with the PROXY protocol, version 2
}

// local is used for clients on a Unix socket, which have no address.
var local = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)

// addressed sets Request.RemoteAddr to the client's address. The port is 0 if a proxy
// sent the address.
func (s *Server) addressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client, reported := s.address(r); reported {
			s.share(client, w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// address returns the client's address and reports whether a proxy sent it.
func (s *Server) address(r *http.Request) (client netip.Addr, reported bool) {
	conn := park.ConnOf(r.Context())
	if conn == nil {
		return client, false
	}
	peer := peerOf(conn)
	if !peer.IsValid() {
		return client, false
	}
	if peer == local {
		r.RemoteAddr = local.String()
	}
	lines := r.Header[string(s.config.Proxies.Header)]
	if len(lines) == 0 {
		return client, false
	}
	if !s.trusts(conn) {
		s.config.Refusals.Add(meter.UntrustedHeader, peer.Addr())
		return client, false
	}
	client, bad := s.config.Proxies.Trusted.Walk(s.config.Proxies.Header, lines, peer.Addr())
	if bad {
		s.config.Refusals.Add(meter.InvalidHeader, peer.Addr())
	}
	if client == peer.Addr() {
		return client, false
	}
	r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
	return client, true
}

// trusts reports whether the peer of conn is a trusted proxy.
func (s *Server) trusts(conn net.Conn) bool {
	if _, ok := conn.RemoteAddr().(*net.UnixAddr); ok {
		return s.config.Proxies.Trusted.Unix
	}
	return s.config.Proxies.Trusted.Has(peerOf(conn).Addr())
}

// peerOf returns the address of conn's peer. It is invalid if the connection has none, as
// in tests.
func peerOf(conn net.Conn) netip.AddrPort {
	switch a := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	case *net.UnixAddr:
		return local
	}
	return netip.AddrPort{}
}
