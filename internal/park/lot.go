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

// A Lot holds the parked connections of one server.
type Lot struct {
	log     *slog.Logger
	poller  *poller        // nil before Start, and on systems without one
	back    func(net.Conn) // see TakeBack; nil: nobody does
	ended   func(netip.Addr)
	left    func(netip.Addr)
	returns func(net.Conn, netip.AddrPort) net.Conn
	workers workers
	alarms  alarms
	none    atomic.Pointer[chan struct{}] // closed when there are no spots

	mu     sync.Mutex // guards what follows
	spots  shrink.Map[uint64, *Spot]
	guests shrink.Map[uint64, netip.Addr] // few have one: see Spot.For
	last   uint64                         // the newest spot's number; numbers are never reused, so a late event finds nobody
}

// NewLot returns a Lot in which a goroutine per connection reads. A panic in a
// Spot's function is logged to log, and ends that Spot and its connection alone.
func NewLot(log *slog.Logger) *Lot {
	l := &Lot{log: log}
	l.workers.direct = make(chan *Spot)
	l.alarms.epoch = time.Now()
	l.setNone()
	close(*l.none.Load())
	return l
}

func (l *Lot) setNone() {
	none := make(chan struct{})
	l.none.Store(&none)
}

// Start lets connections that are parked from now on wait without a goroutine each,
// on systems that support it. It costs a descriptor and a goroutine until Close. Call it
// before the first Park.
func (l *Lot) Start() error {
	p, err := newPoller(l.post)
	l.poller = p
	return err
}

// Close ends the watching. Call it when no spot is left.
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

// TakeBack has f called with the connections of HandBack. Call it before the first
// Park.
func (l *Lot) TakeBack(f func(net.Conn)) { l.back = f }

// Returns has f wrap each connection of the kernel's that leaves, before it is handed
// back. What f returns must park like it. Call it before the first Park.
func (l *Lot) Returns(f func(conn net.Conn, client netip.AddrPort) net.Conn) { l.returns = f }

// Ended has f called with the client's address for each connection that ends here. Call
// it before the first Park.
func (l *Lot) Ended(f func(netip.Addr)) { l.ended = f }

// Lends reports whether c may wait here between two requests: without a goroutine, and
// with somebody who takes it back.
func (l *Lot) Lends(c net.Conn) bool {
	if p := PrefixedOf(c); p != nil {
		c = p.Conn
	}
	return l.back != nil && l.Watches(c)
}

// Park takes ownership of c, clears its deadlines and gives it a spot. The caller
// must not use c any more; Park closes it if it fails. run is called first after
// Begin or a wake, even if Park has not returned yet: it gets the spot as its argument.
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
			l.hasEnded(s)
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

// WakeAll wakes every spot, in batches and without the lock, so that those that have
// something else to do get their turn meanwhile.
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
		case <-*l.none.Load(): // with nobody there, an end of ctx ends nothing
			return nil
		default:
			return ctx.Err()
		}
	}
}

// post is called by the poller.
func (l *Lot) post(id uint64, e Events) {
	l.mu.Lock()
	s := l.spots.Get(id)
	l.mu.Unlock()
	if s != nil {
		s.post(e)
	}
}

// Left has f called with the client for each spot that ends, of those whose connection a
// proxy shares among clients. Call it before the first Park.
func (l *Lot) Left(f func(client netip.Addr)) { l.left = f }

func (l *Lot) hasEnded(s *Spot) {
	if l.ended != nil {
		l.ended(s.remote.Addr())
	}
}

// remove forgets a spot that has ended.
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
