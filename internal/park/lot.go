package park

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"inbox/internal/shrink"
)

// A Lot contains the parked connections of one server. It is safe for concurrent use.
type Lot struct {
	log     *slog.Logger
	poller  *poller        // nil before Start, and on systems without one
	back    func(net.Conn) // set by TakeBack
	ended   func(netip.Addr)
	left    func(netip.Addr)
	returns func(net.Conn, netip.AddrPort) net.Conn
	workers workers
	alarms  alarms
	none    atomic.Pointer[chan struct{}] // closed while there are no spots

	mu     sync.Mutex // guards the fields below
	spots  shrink.Map[uint64, *Spot]
	guests shrink.Map[uint64, netip.Addr] // set by Spot.For, for few spots
	last   uint64                         // number of the newest spot; numbers are never reused, so a late event finds no spot
}

// NewLot returns a Lot that uses a goroutine per connection until Start. If a Spot's
// function panics, the Lot logs it to log and closes that connection only.
func NewLot(log *slog.Logger) *Lot {
	l := &Lot{log: log}
	l.workers.lot, l.workers.idle = l, make(chan struct{})
	l.alarms.epoch = time.Now()
	l.setNone()
	close(*l.none.Load())
	return l
}

func (l *Lot) setNone() {
	none := make(chan struct{})
	l.none.Store(&none)
}

// Start lets connections parked from now on wait without a goroutine each, on systems
// that support it. It uses one descriptor and one goroutine until Close. Call it before
// the first Park.
func (l *Lot) Start() error {
	p, err := newPoller(l.post)
	l.poller = p
	return err
}

// Close stops the watching of Start. Call it when there are no spots.
func (l *Lot) Close() error {
	if l.poller == nil {
		return nil
	}
	return l.poller.close()
}

// Watches reports whether c can wait without a goroutine.
func (l *Lot) Watches(c net.Conn) bool {
	if l.poller == nil {
		return false
	}
	if b := parkable(c); b != nil {
		return kernelConn(b) != nil
	}
	_, ok := c.(syscall.Conn)
	return ok
}

// TakeBack sets the function that takes over connections from HandBack. Call it before
// the first Park.
func (l *Lot) TakeBack(f func(net.Conn)) { l.back = f }

// Returns sets a function that wraps each kernel connection when it leaves the Lot. The
// returned connection must be parkable in the same way. Call it before the first Park.
func (l *Lot) Returns(f func(conn net.Conn, client netip.AddrPort) net.Conn) { l.returns = f }

// Ended sets a function that is called with the client's address when a connection ends
// here. Call it before the first Park.
func (l *Lot) Ended(f func(netip.Addr)) { l.ended = f }

// Lends reports whether c can wait here between two requests: without a goroutine, and
// with a function to take it back.
func (l *Lot) Lends(c net.Conn) bool {
	if p := PrefixedOf(c); p != nil {
		c = p.Conn
	}
	return l.back != nil && l.Watches(c)
}

// Park takes ownership of c, clears its deadlines and returns its spot. If Park fails, it
// has closed c. The first call of run follows Begin or a wake. It may happen before Park
// returns, which is why run gets the spot as an argument.
func (l *Lot) Park(c net.Conn, run func(*Spot, Events)) (*Spot, error) {
	s := &Spot{lot: l, fd: unwatched, run: run, drained: true, alarm: noAlarm}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		s.remote = netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), uint16(a.Port))
	}
	if l.Watches(c) {
		if s.bottom = parkable(c); s.bottom != nil {
			s.secure = c.(*tls.Conn)
			c = s.bottom.Conn
		}
		_, s.located = kernelConn(c).(*located)
		fd, err := take(c)
		if err != nil {
			l.notifyEnded(s)
			return nil, err
		}
		if s.fd = fd; s.bottom != nil {
			s.peek()
		}
	} else {
		c.SetDeadline(time.Time{})
		s.reader = &reader{conn: c}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spots.Len() == 0 {
		l.setNone()
	}
	l.last++
	s.id = l.last
	l.spots.Put(s.id, s)
	return s, nil
}

// WakeAll wakes every spot, in batches and without holding the lock, so that other spots
// get their turn in between.
func (l *Lot) WakeAll() {
	l.mu.Lock()
	all := make([]*Spot, 0, l.spots.Len())
	for _, s := range l.spots.All() {
		all = append(all, s)
	}
	l.mu.Unlock()
	for batch := range slices.Chunk(all, enoughWorkers) {
		for _, s := range batch {
			s.Wake()
		}
		runtime.Gosched()
	}
}

// Len returns how many connections are parked.
func (l *Lot) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spots.Len()
}

// Wait blocks until no spot is left or ctx ends.
func (l *Lot) Wait(ctx context.Context) error {
	select {
	case <-*l.none.Load():
		return nil
	case <-ctx.Done():
		select {
		case <-*l.none.Load(): // if there are no spots, the end of ctx does not matter
			return nil
		default:
			return ctx.Err()
		}
	}
}

// post passes an event from the poller to its spot.
func (l *Lot) post(id uint64, e Events) {
	l.mu.Lock()
	s := l.spots.Get(id)
	l.mu.Unlock()
	if s != nil {
		s.post(e)
	}
}

// Left sets a function that is called with the client when a spot ends whose connection a
// proxy shares among clients. Call it before the first Park.
func (l *Lot) Left(f func(client netip.Addr)) { l.left = f }

func (l *Lot) notifyEnded(s *Spot) {
	if l.ended != nil {
		l.ended(s.remote.Addr())
	}
}

// remove removes a spot that has ended.
func (l *Lot) remove(s *Spot) {
	l.mu.Lock()
	l.spots.Delete(s.id)
	client := l.guests.Get(s.id)
	l.guests.Delete(s.id)
	if l.spots.Len() == 0 {
		close(*l.none.Load())
	}
	l.mu.Unlock()
	if s.guest {
		l.left(client)
	}
}
