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

// Open says how open mode relays.
type Open struct {
	Addresses   []Mapped
	First, Last uint16         // ports of this machine
	Allow       []netip.Prefix // peers that the deny list would refuse, and addresses that may be announced
}

// Mapped is an address of this machine, and the one under which others reach it: behind
// a 1:1 NAT, as of most clouds, they differ.
type Mapped struct{ Public, Local netip.Addr }

// Check refuses what cannot work.
func (o Open) Check() error {
	if len(o.Addresses) == 0 {
		return errors.New("open mode needs the public address of this machine")
	}
	if o.First == 0 || o.Last < o.First {
		return fmt.Errorf("the ports %d-%d are no range", o.First, o.Last)
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
			return fmt.Errorf("%v is no address of one machine", m.Public)
		case Private(m.Public) && !o.allows(m.Public):
			return fmt.Errorf("%v is a private address: peers elsewhere cannot reach it (give PUBLIC/LOCAL, or name it in --turn-allow too)", m.Public)
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

// open makes allocations that are UDP sockets of this machine.
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

// permits reports whether a relayed packet may go to an address. Our own public ones are
// for our own allocations: see WriteTo.
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

// AllocatePacketConn binds a random free port of the range.
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

// address returns the first of a family.
func (o *open) address(v4 bool) (Mapped, bool) {
	for _, m := range o.Addresses {
		if m.Public.Is4() == v4 {
			return m, true
		}
	}
	return Mapped{}, false
}

// A socket is the connection of one allocation.
type socket struct {
	*allocation
	*net.UDPConn
	o             *open
	public, local netip.AddrPort
}

// Close is the allocation's.
func (c *socket) Close() error { return c.allocation.Close() }

func (c *socket) leave() {
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	delete(c.o.taken, c.public)
}

// WriteTo sends to a peer. It never fails, as the network does not. A packet to one of our
// own addresses goes to an allocation, or nowhere: other programs listen there too. It
// takes the local address, since a 1:1 NAT rarely turns packets around.
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

// ReadFrom receives from a peer. A packet of one of our own allocations comes from its
// public address.
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
		if public, ok := c.o.publicOf(from); ok { // charged to the sender
			return n, net.UDPAddrFromAddrPort(public), nil
		}
		// Strangers take nothing from the inbox's rate, and keep nothing alive.
		if !c.peers.has(from.Addr()) || !c.s.charge(c.account, n) {
			continue
		}
		c.passed(n)
		return n, net.UDPAddrFromAddrPort(from), nil
	}
}

// publicOf returns the public address of our own allocation at a local one.
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
