// Package park lets connections wait without a goroutine, a stack and buffers of
// their own: nearly every connection of a signaling server only waits.
//
// A parked connection is a [Spot]. Whatever happens to it (bytes to read, the
// client's leaving, a wake, a time that has passed) runs its function, in a
// goroutine that lasts as long as there is something to do. The function never runs
// twice at once, so it needs no lock for its own state, and is the one place that
// writes to the connection.
//
// On Linux, a Lot takes connections from Go's runtime, which keeps half a KiB for
// each that it never gives back, and wakes for whatever comes on them. An epoll
// instance of the Lot watches them instead, also beneath TLS: see [Secure]. Elsewhere
// a goroutine with a small stack blocks in a read of one byte.
package park

import (
	"crypto/tls"
	"net"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Events say why a Spot's function runs. Several may have come together, and
// each is a hint: the reason may be gone by the time the function looks.
type Events uint32

const (
	Woken    Events = 1 << iota // Wake was called
	Readable                    // there are bytes to read, or the end
	Gone                        // the client has closed or reset
	Timeout                     // the time given to Rest has passed
	Begun                       // Begin was called

	// The others are for the Spot alone.
	running  // a goroutine will look at all the others
	left     // the spot has ended: nothing runs any more
	canRead  // for await
	canWrite // for await, and for Lot.poller.watch

	internal = running | left | canRead | canWrite
)

// The values of Spot.fd that are no descriptor.
const (
	unwatched = -1 // a goroutine reads the connection
	released  = -2 // its number may be another's by now
)

// A Spot is a parked connection. Wake is safe for concurrent use; only the Spot's
// own function may call the other methods.
type Spot struct {
	lot     *Lot
	id      uint64
	fd      int
	reader  *reader   // of one that is unwatched
	secure  *tls.Conn // nil without TLS
	bottom  *bottom   // beneath secure
	remote  netip.AddrPort
	run     func(*Spot, Events)
	waiter  atomic.Pointer[chan struct{}] // of await
	state   atomic.Uint32
	watched Events        // what the poller reports
	when    time.Duration // guarded by alarms
	alarm   int32         // guarded by alarms
	drained bool          // by the last read
	gone    bool          // said once: the end is behind what is still to be read
	peeked  bool          // first was read
	located bool          // remote is what a proxy told
	guest   bool          // lot.guests has whom it is parked for
	first   [1]byte
}

// Wake runs the spot's function, soon and once, however often it is called. It does
// not block.
func (s *Spot) Wake() { s.post(Woken) }

// Begin runs the spot's function for the first time, on the caller's goroutine, unless
// a wake runs it already.
func (s *Spot) Begin() {
	if s.add(Begun) {
		s.loop()
	}
}

func (s *Spot) post(e Events) {
	if s.add(e) {
		s.lot.workers.run(s)
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
			if e&(canRead|canWrite) != 0 {
				s.resume()
			}
			return Events(old)&running == 0
		}
	}
}

func (s *Spot) loop() {
	defer s.recover()
	for {
		e := Events(s.state.Swap(uint32(running))) &^ internal
		s.gone = s.gone || e&Gone != 0
		if e&(Readable|Gone) != 0 {
			s.moisten()
		}
		s.run(s, e)
		if Events(s.state.Load())&left != 0 {
			return
		}
		if s.state.CompareAndSwap(uint32(running), 0) {
			return
		}
	}
}

// recover does what net/http does for handlers: a fault that one connection meets
// must not end all the others, and all inboxes with them.
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

// Rest asks for a Timeout after d, instead of any asked for before. A Timeout that is
// two seconds away or more may come up to 0.1 s late.
func (s *Spot) Rest(d time.Duration) { s.lot.alarms.setAfter(s, d) }

// Watch asks for e, which is Readable or Gone, from now on and instead of what
// was asked for before. Call it at the end of each run: what came after the last
// read makes another.
//
// Gone needs a connection that the Lot Watches. Readable includes it.
func (s *Spot) Watch(e Events) error {
	if s.reader != nil {
		s.reader.start(s)
		return nil
	}
	if s.watched != e {
		if err := s.watch(e); err != nil || s.secure == nil {
			return err // the poller reports what is there already
		}
	}
	if e == Readable && !s.Drained() {
		s.drained = true // the function knows now
		s.post(Readable) // there is no other sign of what was there before
	}
	return nil
}

// moisten says that the kernel may have something to read again.
func (s *Spot) moisten() {
	if s.bottom != nil {
		s.bottom.dry = false
	}
}

func (s *Spot) watch(e Events) error {
	before := s.watched
	s.watched = e
	return s.lot.poller.watch(s.fd, s.id, e, before != 0)
}

// Leave ends the spot. The connection is the caller's, watched by nobody. If there
// is an error, as when the client has reset it, it is closed.
func (s *Spot) Leave() (net.Conn, error) {
	defer s.end()
	if s.reader != nil {
		return s.reader.conn, nil
	}
	if s.watched != 0 {
		s.lot.poller.forget(s.fd)
	}
	fd := s.fd
	s.fd = released
	c, err := newConn(fd)
	if err == nil && s.lot.returns != nil {
		c = s.lot.returns(c, s.remote)
	}
	if err != nil {
		s.lot.hasEnded(s)
	} else if s.located {
		c = Locate(c, s.remote)
	}
	if s.secure == nil || err != nil {
		return c, err
	}
	*s.bottom = bottom{Conn: c}
	if s.peeked {
		return prefix(s.secure, s.first[:], false), nil
	}
	return s.secure, nil
}

// HandBack ends the spot and gives its connection to the server again, with what was
// read of it. idle says that what was waited for did not come: see Prefixed.
func (s *Spot) HandBack(read []byte, idle bool) {
	if s.peeked {
		read, s.peeked = append(read, s.first[:]...), false
	}
	if c, err := s.Leave(); err == nil { // else nobody is there any more
		s.lot.back(prefix(c, read, idle))
	}
}

// Close ends the spot and the connection.
func (s *Spot) Close() {
	defer s.end()
	defer s.lot.hasEnded(s)
	if s.reader != nil {
		s.reader.conn.Close()
		return
	}
	if s.secure != nil {
		s.bottom.writeBy = time.Now().Add(alertTimeout)
		s.secure.Close()
	} else {
		closeFD(s.fd) // which nobody watches then
	}
	s.fd = released
}

// RemoteAddr returns the address that the connection comes from, also when the client has
// left. It is invalid if the connection has none.
func (s *Spot) RemoteAddr() netip.AddrPort { return s.remote }

func (s *Spot) end() {
	s.state.Or(uint32(left))
	s.run = nil // a store may keep the waker, and with it the spot, for a while
	s.lot.alarms.clear(s)
	s.lot.remove(s)
}
