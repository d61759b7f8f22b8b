package relay

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v5"
)

// An allocation is what a client has of one relayed address, in both modes.
type allocation struct {
	s       *Server
	account *account
	stop    func() // makes pion's read fail, upon which it calls Close
	free    func() // frees the address

	channels       atomic.Int32
	peers          *peers      // nil in closed mode
	active         atomic.Bool // a packet has passed since the timer was set
	timer          *time.Timer
	stopped, freed sync.Once
	closing        atomic.Bool // pion has called Close

	mu     sync.Mutex // guards what follows
	source netip.Addr // that it counts for; not valid: for none yet
	gone   bool
}

var (
	errPort  = errors.New("relay: no port can be chosen or reserved")
	errFull  = errors.New("relay: the inbox has all allocations that it may have")
	errPorts = errors.New("relay: no port is free")
	errTCP   = errors.New("relay: TCP is not relayed")
)

// allocate counts an allocation. Trial calls of pion have no user: it tries ports for
// EVEN-PORT, which serves RTCP as it was before 2010.
func (s *Server) allocate(c turn.AllocateListenerConfig) (*allocation, error) {
	if c.UserID == "" || c.RequestedPort != 0 {
		return nil, errPort
	}
	account := s.users.open(c.UserID)
	if account == nil {
		return nil, errFull
	}
	s.Figures.Allocations.Add(1)
	s.Figures.Allocated.Add(1)
	return &allocation{s: s, account: account}, nil
}

// begin starts the idle deadline.
func (a *allocation) begin(stop, free func()) {
	a.stop, a.free = stop, free
	a.timer = time.AfterFunc(idle, func() {
		if a.active.Swap(false) {
			a.timer.Reset(idle)
			return
		}
		a.s.Figures.EndedIdle.Add(1)
		a.end()
	})
}

// end ends the allocation. Its address stays taken until pion has heard of that: pion
// names allocations by their addresses.
func (a *allocation) end() { a.stopped.Do(a.stop) }

// Close is how pion ends an allocation.
func (a *allocation) Close() error {
	a.closing.Store(true)
	a.end()
	a.freed.Do(func() {
		a.timer.Stop()
		a.free()
		a.release()
	})
	return nil
}

// from counts the allocation for the address of its client, which pion tells only now,
// and reports whether there was room.
func (a *allocation) from(source netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone || !source.IsValid() {
		return true
	}
	if !a.s.sources.Take(source, 1) {
		return false
	}
	a.source = source
	return true
}

// endReader ends the goroutine that reads packets, if pion has closed the allocation. With
// an error instead, that goroutine would remove the allocation of its client, which may be
// the next one by then.
func (a *allocation) endReader() {
	if a.closing.Load() {
		runtime.Goexit()
	}
}

// release gives back what allocate and from took.
func (a *allocation) release() {
	a.mu.Lock()
	if a.gone = true; a.source.IsValid() {
		a.s.sources.Give(a.source, 1)
	}
	a.mu.Unlock()
	a.s.users.close(a.account)
	a.s.Figures.Allocations.Add(-1)
}

// passed notes that a packet of n bytes was relayed.
func (a *allocation) passed(n int) {
	if !a.active.Load() { // a load leaves the cache line to the others
		a.active.Store(true)
	}
	a.s.Figures.Packets.Add(1)
	a.s.Figures.Bytes.Add(int64(n))
}

// permitted notes whether a peer may send to the allocation, and reports whether that is
// not one peer too many.
func (a *allocation) permitted(peer net.IP, yes bool) bool {
	if a.peers == nil {
		return true
	}
	ip, _ := netip.AddrFromSlice(peer)
	return a.peers.set(ip.Unmap(), yes) <= maxPermissions
}

// peers are the addresses that an allocation of open mode may receive from.
type peers struct {
	mu  sync.RWMutex // guards all
	all map[netip.Addr]bool
}

func (p *peers) set(a netip.Addr, yes bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if yes {
		p.all[a] = true
	} else {
		delete(p.all, a)
	}
	return len(p.all)
}

func (p *peers) has(a netip.Addr) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.all[a]
}

// onlyUDP refuses RFC 6062, with which a client could reach TCP ports of this network.
type onlyUDP struct{}

func (onlyUDP) Validate() error { return nil }

func (onlyUDP) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errTCP
}

func (onlyUDP) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errTCP }
