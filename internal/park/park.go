// Package park keeps idle connections without a goroutine, a stack or buffers for each:
// nearly every connection of a signaling server only waits.
//
// A [Lot] parks a connection and returns its [Spot]. Every event (bytes to read, a client
// that leaves, a wake, a timeout) runs the function of the Spot, in a goroutine that
// lasts only as long as there is work. The function never runs concurrently with itself,
// so it needs no lock for its own state, and only it writes to the connection.
//
// On Linux, a Lot detaches connections from Go's runtime, which permanently keeps half a
// KiB for each and wakes on every event. The Lot watches them with its own epoll
// instance, also beneath TLS: see [Secure]. Elsewhere, one goroutine per connection
// blocks in a read of one byte.
package park

import (
	"crypto/tls"
	"net"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Events are the reasons for a run of a Spot's function. Several can be set. Each is a
// hint: the reason may have gone by the time the function checks.
type Events uint32

const (
	Woken    Events = 1 << iota // Wake was called
	Readable                    // there may be bytes to read, or the end
	Gone                        // the client has closed or reset the connection
	Timeout                     // the time given to Rest has passed
	Begun                       // Begin was called

	// Used by the Spot itself.
	running  // a goroutine will handle all other events
	left     // the spot has ended and never runs again
	canRead  // for await
	canWrite // for await and poller.watch

	internal = running | left | canRead | canWrite
)

// Writable is only for [Spot.Watch]: the function runs when the kernel has room again,
// after an [Spot.Offer] that fell short. The function then sees no event.
const Writable = canWrite

// Values of Spot.fd that are not descriptors.
const (
	unwatched = -1 // a goroutine reads the connection
	released  = -2 // closed or passed on; the number may have been reused
)

// A Spot is a parked connection. Wake is safe for concurrent use. Only the Spot's
// function may call the other methods.
type Spot struct {
	lot     *Lot
	id      uint64
	fd      int
	reader  *reader   // set if unwatched
	secure  *tls.Conn // nil without TLS
	bottom  *bottom   // beneath secure
	remote  netip.AddrPort
	run     func(*Spot, Events)
	waiter  atomic.Pointer[chan struct{}] // set by await
	state   atomic.Uint32
	watched Events        // what the poller reports
	when    time.Duration // guarded by alarms
	alarm   int32         // guarded by alarms
	drained bool          // the last read left nothing
	gone    bool          // the client has gone; unread bytes may precede the end
	peeked  bool          // first contains a byte that peek has read
	located bool          // remote is the address that a proxy sent
	guest   bool          // lot.guests has the client of this connection
	first   [1]byte
}

// Wake runs the spot's function soon. Several calls before the run count as one. Wake
// does not block.
func (s *Spot) Wake() { s.post(Woken) }

// Begin runs the spot's function for the first time, in the calling goroutine, unless a
// wake is already running it.
func (s *Spot) Begin() {
	if s.add(Begun) && s.turn() {
		s.lot.workers.run(s)
	}
}

func (s *Spot) post(e Events) {
	if s.add(e) {
		s.lot.workers.run(s)
	}
}

// add records an event and reports whether the caller must run the spot.
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

// turn runs the function once. It reports whether events have arrived meanwhile. Then the
// caller must run the spot again, after others had their turn.
func (s *Spot) turn() (again bool) {
	defer s.recover()
	e := Events(s.state.Swap(uint32(running))) &^ internal
	s.gone = s.gone || e&Gone != 0
	if e&(Readable|Gone) != 0 {
		s.clearDry()
	}
	s.run(s, e)
	return Events(s.state.Load())&left == 0 && !s.state.CompareAndSwap(uint32(running), 0)
}

// recover keeps a panic on one connection from ending the process, as net/http does for
// handlers.
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

// Rest asks for a Timeout after d and replaces any earlier request. A Timeout due in two
// seconds or more may be up to 0.1 s late.
func (s *Spot) Rest(d time.Duration) { s.lot.alarms.setAfter(s, d) }

// Watch asks for events of the kind e, Readable or Gone, instead of those watched before.
// The function calls it at the end of each run. Bytes that arrived after its last read
// cause another run.
//
// Gone is supported only if the Lot Watches the connection. Readable includes it.
func (s *Spot) Watch(e Events) error {
	if s.reader != nil {
		s.reader.start(s)
		return nil
	}
	if s.watched != e {
		if err := s.watch(e); err != nil || s.secure == nil {
			return err // the poller reports events that have already happened
		}
	}
	if e&Readable != 0 && !s.Drained() {
		s.drained = true // the next line reports it
		s.post(Readable) // nothing else reports bytes that crypto/tls has already read
	}
	return nil
}

// Polled reports whether the poller watches the connection, rather than a goroutine that
// reads. Between Watch and its event, the function may read only from a polled connection.
func (s *Spot) Polled() bool { return s.reader == nil }

// clearDry records that the kernel may have data to read again.
func (s *Spot) clearDry() {
	if s.bottom != nil {
		s.bottom.dry = false
	}
}

func (s *Spot) watch(e Events) error {
	before := s.watched
	s.watched = e
	return s.lot.poller.watch(s.fd, s.id, e, before != 0)
}

// Leave ends the spot and returns its connection, which the caller now owns. If it fails,
// as when the client has reset the connection, it has closed the connection.
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
		s.lot.notifyEnded(s)
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

// HandBack ends the spot and returns its connection, preceded by the bytes in read, to
// the server. idle becomes Prefixed.Idle: the wait on the connection ended without a
// result.
func (s *Spot) HandBack(read []byte, idle bool) {
	if s.peeked {
		read, s.peeked = append(read, s.first[:]...), false
	}
	if c, err := s.Leave(); err == nil { // otherwise the client has gone
		s.lot.back(prefix(c, read, idle))
	}
}

// Close ends the spot and closes the connection.
func (s *Spot) Close() {
	defer s.end()
	defer s.lot.notifyEnded(s)
	if s.reader != nil {
		s.reader.conn.Close()
		return
	}
	if s.secure != nil {
		s.bottom.writeBy = time.Now().Add(alertTimeout)
		s.secure.Close()
	} else {
		closeFD(s.fd) // the poller forgets a closed descriptor
	}
	s.fd = released
}

// RemoteAddr returns the client's address, even after the client has left. It is invalid
// if the connection has none.
func (s *Spot) RemoteAddr() netip.AddrPort { return s.remote }

func (s *Spot) end() {
	s.state.Or(uint32(left))
	s.run = nil // a store may keep the waker, and with it the spot, for a while
	s.lot.alarms.clear(s)
	s.lot.remove(s)
}
