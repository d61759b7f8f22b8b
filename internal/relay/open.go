package relay

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/turn/v5"
)

// Open configures open mode.
type Open struct {
	Addresses   []Mapped
	First, Last uint16         // range of local ports
	Allow       []netip.Prefix // exceptions to the deny list, for peers and for Addresses
}

// Mapped is an address of this machine and the public address under which others reach
// it. They differ behind a 1:1 NAT, as in most clouds.
type Mapped struct{ Public, Local netip.Addr }

// Check returns an error if the configuration cannot work.
func (o Open) Check() error {
	if len(o.Addresses) == 0 {
		return errors.New("open mode requires the public address of this machine")
	}
	if o.First == 0 || o.Last < o.First {
		return fmt.Errorf("invalid port range %d-%d", o.First, o.Last)
	}
	seen := make(map[netip.Addr]bool)
	for _, m := range o.Addresses {
		switch {
		case m.Public.Is4() != m.Local.Is4():
			return fmt.Errorf("%v and %v are of different families", m.Public, m.Local)
		case seen[m.Public]:
			return fmt.Errorf("%v is given twice", m.Public)
		case seen[m.Local]:
			return fmt.Errorf("%v is given twice", m.Local)
		case m.Public.IsUnspecified() || m.Public.IsMulticast():
			return fmt.Errorf("%v is not the address of a single machine", m.Public)
		case Private(m.Public) && !o.allows(m.Public):
			return fmt.Errorf("%v is a private address: peers elsewhere cannot reach it (use PUBLIC/LOCAL, or add it to --turn-allow)", m.Public)
		}
		seen[m.Public], seen[m.Local] = true, true
	}
	return nil
}

func (o Open) allows(a netip.Addr) bool {
	for _, p := range o.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// open creates allocations that are UDP sockets of this machine.
type open struct {
	onlyUDP
	Open
	s   *Server
	own interfaces

	mu    sync.RWMutex // guards taken
	taken map[netip.AddrPort]*socket
}

func newOpen(s *Server, o Open) (*open, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	return &open{s: s, Open: o, taken: make(map[netip.AddrPort]*socket)}, nil
}

// permits reports whether packets may be relayed to an address. The server's own public
// addresses are permitted for its own allocations; see WriteTo.
func (o *open) permits(peer netip.Addr) bool {
	if o.isOurs(peer) {
		return true
	}
	return (o.allows(peer) || !Private(peer)) && !o.own.have(peer)
}

func (o *open) isOurs(a netip.Addr) bool {
	for _, m := range o.Addresses {
		if m.Public == a {
			return true
		}
	}
	return false
}

func (o *open) hasIPv6() bool {
	_, ok := o.address(false)
	return ok
}

func (o *open) at(a netip.AddrPort) *socket {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.taken[a]
}

func (o *open) find(a netip.AddrPort) *allocation {
	if c := o.at(a); c != nil {
		return c.allocation
	}
	return nil
}

// AllocatePacketConn binds a random free port in the range.
func (o *open) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	m, ok := o.address(c.Network == "udp4")
	if !ok {
		return nil, nil, errPort
	}
	a, err := o.s.allocate(c)
	if err != nil {
		return nil, nil, err
	}
	const tries = 64
	size := uint64(o.Last-o.First) + 1
	for range tries {
		var random [8]byte
		rand.Read(random[:])
		n := o.First + uint16(binary.BigEndian.Uint64(random[:])%size)
		udp, err := net.ListenUDP(c.Network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(m.Local, n)))
		if err != nil {
			continue
		}
		a.peers = &peers{all: make(map[netip.Addr]bool)}
		p := &socket{allocation: a, UDPConn: udp, o: o, public: netip.AddrPortFrom(m.Public, n), local: netip.AddrPortFrom(m.Local, n)}
		o.mu.Lock()
		o.taken[p.public] = p
		o.mu.Unlock()
		a.begin(func() { udp.Close() }, p.leave)
		return p, net.UDPAddrFromAddrPort(p.public), nil
	}
	a.release()
	return nil, nil, errPorts
}

// address returns the first address of a family.
func (o *open) address(v4 bool) (Mapped, bool) {
	for _, m := range o.Addresses {
		if m.Public.Is4() == v4 {
			return m, true
		}
	}
	return Mapped{}, false
}

// A socket is the connection of an allocation.
type socket struct {
	*allocation
	*net.UDPConn
	o             *open
	public, local netip.AddrPort
}

// Close closes the allocation.
func (c *socket) Close() error { return c.allocation.Close() }

func (c *socket) leave() {
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	delete(c.o.taken, c.public)
}

// WriteTo sends a packet to a peer. Like a network, it reports no errors. A packet to one
// of the server's own public addresses must be for an allocation, since other programs
// listen there too. It is sent to the local address, since a 1:1 NAT rarely supports
// hairpinning.
func (c *socket) WriteTo(b []byte, peer net.Addr) (int, error) {
	u, ok := peer.(*net.UDPAddr)
	if !ok {
		return len(b), nil
	}
	to := addrPort(u)
	if c.o.isOurs(to.Addr()) {
		other := c.o.at(to)
		if other == nil {
			c.s.Figures.DroppedPeer.Add(1)
			return len(b), nil
		}
		to = other.local
	}
	if c.s.charge(c.account, len(b)) {
		if _, err := c.UDPConn.WriteToUDPAddrPort(b, to); err == nil {
			c.passed(len(b))
		} else {
			c.s.Figures.DroppedPeer.Add(1)
		}
	}
	return len(b), nil
}

// ReadFrom receives a packet from a peer. A packet from another allocation of this server
// appears to come from its public address.
func (c *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.UDPConn.ReadFromUDPAddrPort(b)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				c.endReader()
				return 0, nil, err
			}
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if public, ok := c.o.publicOf(from); ok { // already charged to the sender
			return n, net.UDPAddrFromAddrPort(public), nil
		}
		// Packets from strangers do not count against the inbox's rate and do not keep
		// the allocation alive.
		if !c.peers.has(from.Addr()) || !c.s.charge(c.account, n) {
			continue
		}
		c.passed(n)
		return n, net.UDPAddrFromAddrPort(from), nil
	}
}

// publicOf returns the public address of the allocation at a local address.
func (o *open) publicOf(local netip.AddrPort) (netip.AddrPort, bool) {
	for _, m := range o.Addresses {
		if m.Local != local.Addr() {
			continue
		}
		public := netip.AddrPortFrom(m.Public, local.Port())
		if o.at(public) != nil {
			return public, true
		}
	}
	return netip.AddrPort{}, false
}

// LocalAddr returns the public address.
func (c *socket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.public) }
