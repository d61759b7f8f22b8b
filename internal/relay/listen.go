package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/pion/turn/v5"

	"inbox/internal/turncred"
)

const (
	// maxSockets bounds the UDP sockets on a machine with very many addresses.
	maxSockets = 64
	// readBuffer is the requested receive buffer of a UDP socket, in bytes. Most systems
	// grant less.
	readBuffer = 1 << 20
	// rescan is how often Run checks for new addresses of the machine.
	rescan = time.Minute
)

// ListenUDP serves a UDP port on host, or on every address of this machine if host is
// invalid. Each address gets its own socket, since a wildcard socket may reply from
// another address. Port 0 picks a free port. ListenUDP returns the port, or an error if
// no address could be bound.
func (s *Server) ListenUDP(host netip.Addr, port uint16) (uint16, error) {
	s.scan.Lock()
	defer s.scan.Unlock()
	addresses := []netip.Addr{host}
	if !host.IsValid() {
		addresses = MachineAddresses()
	}
	bound, failed := 0, error(nil)
	for _, a := range addresses {
		taken, err := s.bindLocked(a, port)
		if err != nil {
			failed = errors.Join(failed, err)
		} else {
			port = taken
			bound++
		}
	}
	if bound == 0 {
		if failed == nil {
			failed = errors.New("this machine has no address")
		}
		return 0, failed
	}
	if !host.IsValid() {
		s.everywhere = port
	}
	return port, nil
}

// bindLocked serves one address. The caller holds s.scan.
func (s *Server) bindLocked(a netip.Addr, port uint16) (uint16, error) {
	if len(s.bound) >= maxSockets {
		return 0, errors.New("relay: this machine has too many addresses")
	}
	network := "udp4"
	if a.Is6() {
		network = "udp6"
	}
	c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
	if err != nil {
		return 0, err
	}
	_ = c.SetReadBuffer(readBuffer)
	port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	t, err := s.servePacket(c)
	if err != nil {
		return 0, err
	}
	s.bound[a] = append(s.bound[a], t)
	if port == 65535 {
		return port, nil
	}
	// Only the connection test at /test needs the second port, so it may be taken.
	if c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port+1))); err == nil {
		if t, err := s.serveSTUN(c); err == nil {
			s.bound[a] = append(s.bound[a], t)
		}
	}
	return port, nil
}

// serveSTUN takes ownership of c and only answers Binding requests. A client that gets
// different addresses from this port and from the relay's own port is behind a symmetric
// NAT.
func (s *Server) serveSTUN(c *net.UDPConn) (*turn.Server, error) {
	t, err := turn.NewServer(turn.ServerConfig{
		LoggerFactory: logs{s.log}, Realm: turncred.Realm, // no AuthHandler, so no TURN
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: &packetConn{UDPConn: c, s: s}, RelayAddressGenerator: s.relays, PermissionHandler: s.permit,
		}},
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	return t, s.addTurn(t)
}

// Run follows changes of this machine's addresses until ctx ends, if ListenUDP has bound
// all of them.
func (s *Server) Run(ctx context.Context) {
	if s.everywhere == 0 {
		return
	}
	tick := time.NewTicker(rescan)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.follow(MachineAddresses())
		}
	}
}

// follow binds new addresses and closes the sockets of addresses that are gone.
func (s *Server) follow(addresses []netip.Addr) {
	s.scan.Lock()
	defer s.scan.Unlock()
	now := make(map[netip.Addr]bool)
	for _, a := range addresses {
		now[a] = true
		if s.bound[a] == nil {
			if _, err := s.bindLocked(a, s.everywhere); err != nil {
				s.log.Debug("the relay cannot listen on a new address", "error", err)
			}
		}
	}
	for a, all := range s.bound {
		if !now[a] {
			delete(s.bound, a)
			s.forget(netip.AddrPortFrom(a, s.everywhere))
			for _, t := range all {
				s.stop(t)
			}
		}
	}
}

// stop closes one listener.
func (s *Server) stop(t *turn.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.turns, t)
	t.Close()
}
