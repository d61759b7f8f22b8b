// Package park lets connections wait without a goroutine, a stack and buffers of
// their own: nearly every connection of a signaling server only waits.
//
// A parked connection is a [Spot]. Whatever happens to it (bytes to read, the
// client's leaving, a wake, a time that has passed) makes its function run, in a
// goroutine that lasts as long as there is something to do. It never runs twice
// at once, so it needs no lock for what is its own, and is the one place that
// writes to the connection.
//
// On Linux, TCP connections are taken from Go's runtime, which has half a KiB for
// each that it never gives back, and wakes for whatever comes on them. They are
// watched by an epoll instance of our own, and have no net.Conn but while
// something has to be waited for. Elsewhere, and for TLS, whose bytes may lie in
// buffers that the kernel knows nothing of, a goroutine with a small stack blocks
// in a read of one byte.
package park

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Events say why a Spot's function runs. Several may have come together, and
// each is a hint: the reason may be gone by the time it is looked into.
type Events uint32

const (
	Woken    Events = 1 << iota // Wake was called
	Readable                    // there are bytes to read, or the end
	Gone                        // the client has closed or reset
	Timeout                     // the time given to Rest has passed
	Begun                       // Begin was called

	running // not an event: there is a goroutine that will look at all the others
	left    // Leave was called: nothing runs any more
)

// A Lot holds the parked connections of one server.
type Lot struct {
	log    *slog.Logger
	poller *poller                       // nil before Start, and where there is none
	work   chan *Spot                    // to a worker that is idle
	none   atomic.Pointer[chan struct{}] // closed when there are no spots

	mu    sync.Mutex // guards what follows
	spots map[uint64]*Spot
	peak  int    // the most spots since the map was made
	last  uint64 // the number of the newest spot: never used again, so a late event finds nobody
}

// NewLot makes a Lot in which a goroutine per connection reads. log is told of a
// panic in a Spot's function, which ends that Spot and its connection alone.
func NewLot(log *slog.Logger) *Lot {
	l := &Lot{log: log, spots: make(map[uint64]*Spot), work: make(chan *Spot)}
	l.setNone()
	close(*l.none.Load())
	return l
}

func (l *Lot) setNone() {
	none := make(chan struct{})
	l.none.Store(&none)
}

// Start has the connections that are parked from now on watched without one,
// where that is possible. It costs a descriptor and a goroutine until Close, and
// is called before the first Park.
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

// Watches reports whether waiting for c to close costs no goroutine.
func (l *Lot) Watches(c net.Conn) bool {
	_, ok := c.(syscall.Conn)
	return ok && l.poller != nil
}

// Park takes c over, without the deadlines that it may have had, and gives it a
// spot. From then on c is not to be used, and if there is an error it is closed.
// run is first called after Begin or a Wake, which may be that of a WakeAll: it is
// handed the spot, since Park may not have returned by then.
func (l *Lot) Park(c net.Conn, run func(*Spot, Events)) (*Spot, error) {
	s := &Spot{lot: l, fd: unwatched, run: run, drained: true}
	if l.Watches(c) {
		fd, err := take(c)
		if err != nil {
			return nil, err
		}
		s.fd = fd
	} else {
		c.SetDeadline(time.Time{})
		s.conn = c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.spots) == 0 {
		l.setNone()
	}
	l.last++
	s.id = l.last
	l.spots[s.id] = s
	l.peak = max(l.peak, len(l.spots))
	return s, nil
}

// take closes c and returns a descriptor of the same connection that nobody else
// knows.
func take(c net.Conn) (fd int, err error) {
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	if outer := raw.Control(func(old uintptr) { fd, err = dupFD(int(old)) }); outer != nil {
		return 0, outer
	}
	return fd, err
}

// WakeAll wakes every spot.
func (l *Lot) WakeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.spots {
		s.Wake()
	}
}

// Wait returns when every spot was left, or ctx ends.
func (l *Lot) Wait(ctx context.Context) error {
	select {
	case <-*l.none.Load():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// idleWorker is how long a goroutine that has nothing to do is kept: a new one
// would have to grow its stack first, which costs a tenth of what a message does.
const idleWorker = 250 * time.Millisecond

// start finds a goroutine for a spot that has something to do.
func (l *Lot) start(s *Spot) {
	select {
	case l.work <- s:
	default:
		go l.worker(s)
	}
}

func (l *Lot) worker(s *Spot) {
	s.loop()
	idle := time.NewTimer(idleWorker)
	defer idle.Stop()
	for {
		select {
		case s := <-l.work:
			s.loop()
			idle.Reset(idleWorker)
		case <-idle.C:
			return
		case <-*l.none.Load():
			return
		}
	}
}

// post is what the poller calls.
func (l *Lot) post(id uint64, e Events) {
	l.mu.Lock()
	s := l.spots[id]
	l.mu.Unlock()
	if s != nil {
		s.post(e)
	}
}

// What a Spot has instead of a descriptor.
const (
	unwatched = -1 // a goroutine reads conn
	released  = -2 // its number may be another's by now
)

// A Spot is a parked connection. Wake may be called by anybody, the other
// methods by the Spot's own function alone.
type Spot struct {
	lot     *Lot
	id      uint64
	fd      int
	conn    net.Conn // of a watched one: see Conn
	run     func(*Spot, Events)
	state   atomic.Uint32
	timer   *time.Timer
	watched Events
	drained bool // by the last read
	gone    bool // said once: the end is behind what is still to be read

	// Of the goroutine that reads; it hands them over by posting Readable.
	first    [1]byte
	hasFirst bool
	firstErr error
}

// Wake makes the spot's function run, soon and once, however often it is called.
// It does not block.
func (s *Spot) Wake() { s.post(Woken) }

// Begin runs the spot's function for a first time, here, unless a Wake has it run
// already.
func (s *Spot) Begin() {
	if s.add(Begun) {
		s.loop()
	}
}

func (s *Spot) post(e Events) {
	if s.add(e) {
		s.lot.start(s)
	}
}

// add notes an event and reports whether the caller has to see to the loop.
func (s *Spot) add(e Events) bool {
	for {
		old := s.state.Load()
		if Events(old)&left != 0 {
			return false
		}
		if s.state.CompareAndSwap(old, old|uint32(e|running)) {
			return Events(old)&running == 0
		}
	}
}

func (s *Spot) loop() {
	defer s.recover()
	for {
		e := Events(s.state.Swap(uint32(running))) &^ running
		s.gone = s.gone || e&Gone != 0
		s.run(s, e)
		if Events(s.state.Load())&left != 0 {
			return
		}
		s.dropConn()
		if s.state.CompareAndSwap(uint32(running), 0) {
			return
		}
	}
}

// recover is what net/http does for handlers: a fault that one connection meets is
// not to end all the others, and all inboxes with them.
func (s *Spot) recover() {
	v := recover()
	if v == nil {
		return
	}
	s.lot.log.Error("panic serving a parked connection", "panic", v, "stack", string(debug.Stack()))
	if Events(s.state.Load())&left == 0 {
		s.Close()
	}
}

// tick is what times are rounded up to, so that what thousands wait for comes
// together: a machine that is woken for each of them does little else.
const tick = 100 * time.Millisecond

// Rest asks for a Timeout after d, instead of any asked for before. One that is
// two seconds away or more may come up to a tenth of a second later.
func (s *Spot) Rest(d time.Duration) {
	if d >= 20*tick {
		past := time.Duration(time.Now().Add(d).UnixNano()) % tick
		d += (tick - past) % tick
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(d, func() {
			if s.add(Timeout) {
				s.lot.start(s) // its goroutine is new, and its stack small
			}
		})
		return
	}
	s.timer.Reset(d)
}

// Watch asks for e, which is Readable or Gone, from now on and instead of what
// was watched for before. Call it at the end of each run: what came after the
// last read makes another.
//
// Gone needs a connection that the Lot Watches. Readable includes it.
func (s *Spot) Watch(e Events) error {
	if s.fd == unwatched {
		if s.watched == 0 {
			s.watched = e
			go s.readOne()
		}
		return nil
	}
	if s.watched != e {
		before := s.watched
		s.watched = e
		return s.lot.poller.watch(s.fd, s.id, e, before != 0)
	}
	if e == Readable && !s.Drained() {
		s.post(Readable) // there is no other sign of what was there before
	}
	return nil
}

// Leave ends the spot. The connection is the caller's, watched by nobody. If there
// is an error, as when the client has reset it, it is closed.
func (s *Spot) Leave() (net.Conn, error) {
	defer s.end()
	if s.fd == unwatched {
		return s.conn, nil
	}
	s.dropConn()
	if s.watched != 0 {
		s.lot.poller.forget(s.fd)
	}
	fd := s.fd
	s.fd = released
	return newConn(fd)
}

// Close ends the spot and the connection.
func (s *Spot) Close() {
	defer s.end()
	if s.fd != unwatched {
		closeFD(s.fd) // which nobody watches then
		s.fd = released
	}
	if s.conn != nil {
		s.conn.Close()
	}
}

func (s *Spot) end() {
	s.state.Or(uint32(left))
	if s.timer != nil {
		s.timer.Stop()
	}
	l := s.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.spots, s.id)
	// A map keeps the room of its best days. Copying the quarter that is left is
	// paid for by the three quarters that went.
	if n := len(l.spots); l.peak >= 64 && n <= l.peak/4 {
		smaller := make(map[uint64]*Spot, n)
		maps.Copy(smaller, l.spots)
		l.spots, l.peak = smaller, n
	}
	if len(l.spots) == 0 {
		close(*l.none.Load())
	}
}
