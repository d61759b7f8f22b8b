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
	// maxSockets bounds the UDP sockets of a machine with very many addresses.
	maxSockets = 64
	// readBuffer is what the kernel may keep for a UDP socket; most systems give less.
	readBuffer = 1 << 20
	// rescan is how often Run looks for new addresses of the machine.
	rescan = time.Minute
)

// ListenUDP serves a UDP port of one address, or of all addresses of this machine if host
// is not valid: each gets a socket of its own, since a wildcard socket answers from
// whichever address the kernel takes. It fails if no address can be bound. Port 0 takes a
// free one. It returns the port.
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

// bindLocked serves one address. s.scan is held.
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
	// Nothing but /test needs the second port, so it may be taken.
	if c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port+1))); err == nil {
		if t, err := s.serveSTUN(c); err == nil {
			s.bound[a] = append(s.bound[a], t)
		}
	}
	return port, nil
}

// serveSTUN takes ownership of c and answers Binding requests alone. A client that learns
// another address from it than from the relay's own port is behind a symmetric NAT.
func (s *Server) serveSTUN(c *net.UDPConn) (*turn.Server, error) {
	t, err := turn.NewServer(turn.ServerConfig{
		LoggerFactory: logs{s.log}, Realm: turncred.Realm, // and no AuthHandler: no TURN
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

// Run follows the addresses of this machine, if ListenUDP has bound all, until ctx ends.
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

// follow binds addresses that are new, and gives up those that are gone.
func (s *Server) follow(addresses []netip.Addr) {
	s.scan.Lock()
	defer s.scan.Unlock()
	now := make(map[netip.Addr]bool)
	for _, a := range addresses {
		now[a] = true
		if s.bound[a] == nil {
			if _, err := s.bindLocked(a, s.everywhere); err != nil {
				s.log.Debug("the relay cannot bind a new address", "error", err)
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

// stop ends one listener.
func (s *Server) stop(t *turn.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.turns, t)
	t.Close()
}
