package relay

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v5"
)

const (
	firstPort = 49152
	ports     = 65536 - firstPort

	// maxQueue bounds the packets waiting for one client: half a second at 5 Mbit/s.
	maxQueue = 256
	// maxQueued bounds the packets waiting for all clients, 32 MiB. Above it, each client
	// may only have minQueued, so that clients that do not read take no room from those
	// that do.
	maxQueued = 20_000
	minQueued = 8

	// maxPeers bounds the peers that an allocation remembers having sent to. A call has
	// up to 40 relay candidates.
	maxPeers = 128

	// maxPacket is the maximum payload; pion reads no more.
	maxPacket = 1600
)

// A Switch relays between the allocations of one process. All of them have the same
// virtual address, with ports that exist nowhere else. A packet moves from the sender's
// allocation to the receiver's queue in memory, if the receiver has sent to the sender
// before, as ICE checks do.
type Switch struct {
	onlyUDP
	s       *Server
	address netip.Addr
	ip      net.IP
	ids     atomic.Uint32
	queued  atomic.Int64
	ports   [ports]atomic.Pointer[port]
}

func newSwitch(s *Server, address netip.Addr) *Switch {
	return &Switch{s: s, address: address, ip: address.AsSlice()}
}

func (w *Switch) permits(peer netip.Addr) bool { return peer == w.address }

func (w *Switch) hasIPv6() bool { return false }

func (w *Switch) at(p uint16) *port {
	if p < firstPort {
		return nil
	}
	return w.ports[p-firstPort].Load()
}

func (w *Switch) find(a netip.AddrPort) *allocation {
	if p := w.at(a.Port()); p != nil && a.Addr() == w.address {
		return p.allocation
	}
	return nil
}

// AllocatePacketConn returns a random free port.
func (w *Switch) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	if c.Network != "udp4" {
		return nil, nil, errPort
	}
	a, err := w.s.allocate(c)
	if err != nil {
		return nil, nil, err
	}
	p := &port{allocation: a, w: w, id: w.ids.Add(1)}
	p.filled.L = &p.mu
	// With half of the ports taken, every second try succeeds.
	const tries = 64
	for range tries {
		var random [2]byte
		rand.Read(random[:])
		n := binary.BigEndian.Uint16(random[:]) % ports
		p.addr = &net.UDPAddr{IP: w.ip, Port: firstPort + int(n)}
		if w.ports[n].CompareAndSwap(nil, p) {
			a.begin(p.hangUp, p.leave)
			return p, p.addr, nil
		}
	}
	a.release()
	return nil, nil, errPorts
}

// A port is the connection of an allocation.
type port struct {
	*allocation
	w    *Switch
	id   uint32 // unique to this allocation, unlike the port number
	addr *net.UDPAddr

	known  atomic.Pointer[[]uint32]       // ids of allocations that this one has sent to
	direct atomic.Pointer[direct]         // nil: use the queue
	bound  atomic.Pointer[map[int]uint16] // channels by the peer's port

	mu     sync.Mutex // guards the fields below
	filled sync.Cond
	queue  []*datagram // ring buffer that grows to maxQueue
	first  int
	count  int
	closed bool
}

type datagram struct {
	from *net.UDPAddr
	n    int
	b    [maxPacket]byte
}

var datagrams = sync.Pool{New: func() any { return new(datagram) }}

// WriteTo passes a packet to the port at address peer. Like a network, it reports no
// errors.
func (p *port) WriteTo(b []byte, peer net.Addr) (int, error) {
	u, ok := peer.(*net.UDPAddr)
	if !ok || len(b) > maxPacket {
		return len(b), nil
	}
	to := p.w.at(uint16(u.Port))
	if to == nil || !u.IP.Equal(p.w.ip) {
		p.s.Figures.DroppedPeer.Add(1)
		return len(b), nil
	}
	if !p.knows(to.id) {
		p.learn(to.id)
	}
	if !to.knows(p.id) {
		p.s.Figures.DroppedPeer.Add(1)
		return len(b), nil
	}
	if !p.s.charge(p.account, len(b)) {
		return len(b), nil
	}
	if !to.send(b, p) && !to.put(b, p.addr) {
		p.s.Figures.DroppedQueue.Add(1)
		return len(b), nil
	}
	p.passed(len(b))
	if !to.active.Load() {
		to.active.Store(true)
	}
	return len(b), nil
}

// knows reports whether p has sent to an allocation.
func (p *port) knows(id uint32) bool {
	ids := p.known.Load()
	return ids != nil && slices.Contains(*ids, id)
}

// learn remembers an allocation, and forgets the oldest if there are too many.
func (p *port) learn(id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var old []uint32
	if known := p.known.Load(); known != nil {
		old = (*known)[max(0, len(*known)-maxPeers+1):]
	}
	ids := append(make([]uint32, 0, len(old)+1), old...)
	ids = append(ids, id)
	p.known.Store(&ids)
}

// put appends a packet to the queue. It reports false if the queue is full.
func (p *port) put(b []byte, from *net.UDPAddr) bool {
	d := datagrams.Get().(*datagram)
	d.from, d.n = from, copy(d.b[:], b)
	p.mu.Lock()
	if p.closed || p.count == maxQueue || p.count >= minQueued && p.w.queued.Load() >= maxQueued {
		p.mu.Unlock()
		datagrams.Put(d)
		return false
	}
	if p.count == len(p.queue) {
		larger := make([]*datagram, max(16, 2*len(p.queue)))
		n := copy(larger, p.queue[p.first:])
		copy(larger[n:], p.queue[:p.first])
		p.queue, p.first = larger, 0
	}
	p.queue[(p.first+p.count)%len(p.queue)] = d
	p.count++
	p.mu.Unlock()
	p.w.queued.Add(1)
	p.filled.Signal()
	return true
}

// ReadFrom waits for the next packet.
func (p *port) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	for p.count == 0 && !p.closed {
		p.filled.Wait()
	}
	if p.closed {
		p.mu.Unlock()
		p.endReader()
		return 0, nil, net.ErrClosed
	}
	d := p.queue[p.first]
	p.queue[p.first] = nil
	p.first = (p.first + 1) % len(p.queue)
	p.count--
	p.mu.Unlock()
	p.w.queued.Add(-1)
	n, from := copy(b, d.b[:d.n]), d.from
	datagrams.Put(d)
	return n, from, nil
}

// hangUp ends ReadFrom.
func (p *port) hangUp() {
	p.direct.Store(nil)
	p.mu.Lock()
	p.w.queued.Add(-int64(p.count))
	p.closed, p.queue, p.count = true, nil, 0
	p.mu.Unlock()
	p.filled.Broadcast()
}

// leave removes the port from the switch.
func (p *port) leave() { p.w.ports[p.addr.Port-firstPort].CompareAndSwap(p, nil) }

// LocalAddr returns the virtual address.
func (p *port) LocalAddr() net.Addr { return p.addr }

// Deadlines do nothing: only ReadFrom blocks, and Close ends it.

func (p *port) SetDeadline(time.Time) error      { return nil }
func (p *port) SetReadDeadline(time.Time) error  { return nil }
func (p *port) SetWriteDeadline(time.Time) error { return nil }
