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

// An allocation is a client's relayed address and its state. Both modes embed it.
type allocation struct {
	s       *Server
	account *account
	stop    func() // makes pion's read fail, after which pion calls Close
	free    func() // frees the address

	channels       atomic.Int32
	peers          *peers      // nil in closed mode
	active         atomic.Bool // a packet has passed since the timer was set
	timer          *time.Timer
	stopped, freed sync.Once
	closing        atomic.Bool // pion has called Close

	mu     sync.Mutex // guards the fields below
	source netip.Addr // client address that it counts against; invalid until known
	gone   bool
}

var (
	errPort  = errors.New("relay: ports cannot be chosen or reserved")
	errFull  = errors.New("relay: the inbox has too many allocations")
	errPorts = errors.New("relay: no free port")
	errTCP   = errors.New("relay: TCP is not relayed")
)

// allocate counts a new allocation. It refuses pion's trial calls, which have no user:
// they look for ports for EVEN-PORT, which only old versions of RTP need.
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

// begin starts the idle timer.
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

// end ends the allocation. The address stays taken until pion calls Close, since pion
// identifies allocations by address.
func (a *allocation) end() { a.stopped.Do(a.stop) }

// Close is called by pion when an allocation ends.
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

// from counts the allocation against its client's address, which pion only reveals after
// creating it. It reports false if the address has too many.
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

// endReader ends the goroutine that reads packets if pion has closed the allocation. If
// it returned an error instead, that goroutine would remove the client's allocation,
// which may be a newer one by then.
func (a *allocation) endReader() {
	if a.closing.Load() {
		runtime.Goexit()
	}
}

// release undoes allocate and from.
func (a *allocation) release() {
	a.mu.Lock()
	if a.gone = true; a.source.IsValid() {
		a.s.sources.Give(a.source, 1)
	}
	a.mu.Unlock()
	a.s.users.close(a.account)
	a.s.Figures.Allocations.Add(-1)
}

// passed records that a packet of n bytes was relayed.
func (a *allocation) passed(n int) {
	if !a.active.Load() { // loading first avoids contention on the cache line
		a.active.Store(true)
	}
	a.s.Figures.Packets.Add(1)
	a.s.Figures.Bytes.Add(int64(n))
}

// permitted records whether a peer may send to the allocation. It reports false if there
// are too many permissions.
func (a *allocation) permitted(peer net.IP, yes bool) bool {
	if a.peers == nil {
		return true
	}
	ip, _ := netip.AddrFromSlice(peer)
	return a.peers.set(ip.Unmap(), yes) <= maxPermissions
}

// peers are the addresses from which an allocation in open mode may receive.
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

// onlyUDP refuses TCP allocations (RFC 6062), which would let clients reach TCP ports in
// this network.
type onlyUDP struct{}

func (onlyUDP) Validate() error { return nil }

func (onlyUDP) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errTCP
}

func (onlyUDP) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errTCP }
