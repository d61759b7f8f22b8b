// Package socket implements the server side of WebSocket (RFC 6455) for all protocols
// that use it: handshake, frames, pings, deadlines and closing. A [Protocol] handles the
// messages.
//
// [Check] validates a handshake and [Accept] completes it. A socket stays parked for its
// whole life (package park), so a silent one has neither a goroutine nor a buffer.
// Messages are text, without extensions.
package socket

import (
	"errors"
	"net/netip"
	"time"

	"github.com/gobwas/ws"

	"inbox/internal/flight"
	"inbox/internal/park"
)

const (
	pingEvery    = 20 * time.Second // silence before a ping
	pongTimeout  = 10 * time.Second
	frameTimeout = 10 * time.Second // from the first byte of a message to its last
	writeTimeout = 10 * time.Second // to read what one run writes
	closeTimeout = 2 * time.Second  // to close after our close frame

	flushAt    = 8 << 10  // pending bytes that trigger a write
	maxFrames  = 64       // frames read before other sockets get their turn
	maxHandled = 64 << 10 // bytes of frames, likewise
)

// A Protocol handles the messages of one socket. The Socket calls its methods one at a
// time, and only they may use the Socket, except for Wake. After one of them has returned
// an error, only End is called.
type Protocol interface {
	// Look is called first, before anything is read, then after each Wake and at the time
	// given to LookAgain.
	Look(s *Socket, now time.Time) error
	// Message handles a text message, which is valid UTF-8. It must not retain text.
	Message(s *Socket, now time.Time, text []byte) error
	// End is called last and once, with the reason. It returns the close frame for the
	// client, which may have gone.
	End(s *Socket, why error) Close
}

// Close is a close frame. As an error, it ends the socket with that frame.
type Close struct {
	Code   ws.StatusCode
	Reason string // at most 123 bytes
}

func (c Close) Error() string { return c.Reason }

// ErrGone means that the client has left and cannot be told anything.
var ErrGone = errors.New("the client is gone")

// ErrNoMessage means that the first message did not arrive in time.
var ErrNoMessage = errors.New("no message in time")

// Options configure the sockets of one endpoint.
type Options struct {
	Subprotocol  string         // required of the client; "" for none
	MaxMessage   int            // in bytes; a longer message closes the socket with TooLarge
	TooLarge     ws.StatusCode  // default 1009
	FirstMessage time.Duration  // deadline of the first message; 0 for none
	InFlight     *flight.Budget // counts messages until they were handled

	// Patient sockets never wait for their clients: they keep the frames that a client has
	// not read, see Socket.Behind. The client of another socket has 10 s to read.
	Patient bool

	// Frame, if not nil, is called for each frame that does not complete a message. Its
	// error ends the socket. Without it, nothing stops a client that floods pings.
	Frame func(client netip.Addr) error
}

// A Socket is the server's end of one WebSocket.
type Socket struct {
	protocol Protocol
	options  *Options
	client   netip.Addr
	spot     *park.Spot
	*work    // only during a run

	started  bool
	look     bool      // before the next rest
	unread   bool      // the kernel may have more to read
	pinged   bool      // pinged without an answer
	deadline time.Time // of the next ping, or of the answer to the last one
	firstBy  time.Time // deadline of the first message; zero once it has arrived
	again    time.Time // latest time of the next look; zero for none
	timer    time.Time // when the spot's Timeout is due

	answer     []byte         // to the handshake; written together with the first output
	early      []byte         // read beyond the handshake
	fragmented bool           // a message is incomplete
	message    flight.Message // the part that has arrived
	begun      time.Time      // start of the message; zero between messages

	strain *strain // nil while the client keeps up
}

// Wake makes the protocol look. It is safe for concurrent use after the first Look, and
// does not block.
func (s *Socket) Wake() { s.spot.Wake() }

// Client returns the client's address, which may be invalid.
func (s *Socket) Client() netip.Addr { return s.client }

// LookSoon makes the protocol look before the socket rests.
func (s *Socket) LookSoon() { s.look = true }

// LookAgain makes the protocol look at this time, or somewhat earlier together with other
// work.
func (s *Socket) LookAgain(at time.Time) { s.again = at }

func (s *Socket) run(spot *park.Spot, e park.Events) {
	if s.spot == nil {
		s.spot = spot
	}
	now := time.Now()
	s.takeWork()
	defer s.freeWork()
	s.out, s.answer = append(s.out, s.answer...), nil
	err := s.step(e, now)
	if err == nil {
		err = s.Flush()
	}
	if err == nil {
		err = s.rest(now)
	}
	if err != nil {
		s.end(err)
	}
}

// step does all pending work and appends the output to out.
func (s *Socket) step(e park.Events, now time.Time) error {
	if !s.started {
		s.started = true
		if err := s.protocol.Look(s, now); err != nil {
			return err
		}
		e &^= park.Woken
	}
	if err := s.push(now); err != nil {
		return err
	}
	s.unread = s.unread || e&(park.Readable|park.Gone) != 0
	if s.endPause(now) {
		if err := s.protocol.Look(s, now); err != nil { // it may pause again
			return err
		}
	}
	if s.hasInput(now) {
		if err := s.read(now); err != nil {
			return err
		}
	}
	switch {
	case s.isStuck(now):
		return ErrGone
	case !s.firstBy.IsZero() && !now.Before(s.firstBy):
		return ErrNoMessage
	case s.fragmented && s.message.Lost(s.options.InFlight):
		return errLost
	case s.fragmented && now.Sub(s.begun) >= frameTimeout:
		return Close{ws.StatusPolicyViolation, "a message took too long to arrive"}
	}
	switch late := !now.Before(s.deadline); {
	case late && (s.Behind() || s.isPaused(now)): // no ping arrives, or no pong is read
		s.pinged, s.deadline = false, now.Add(pongTimeout)
	case late:
		if s.pinged {
			return ErrGone
		}
		s.control(ws.OpPing, nil)
		s.pinged, s.deadline = true, now.Add(pongTimeout)
		// look together with the ping if a look is due before the next ping
		s.look = s.look || !s.again.IsZero() && s.again.Before(now.Add(pingEvery))
	}
	if s.look || e&park.Woken != 0 || !s.again.IsZero() && !now.Before(s.again) {
		s.look = false
		return s.protocol.Look(s, now)
	}
	return nil
}

// rest ends a run and releases everything that is not needed while waiting.
func (s *Socket) rest(now time.Time) error {
	next := s.deadline
	pause, watch := time.Time{}, park.Readable
	if s.strain != nil {
		pause = s.strain.paused
	}
	if s.Behind() {
		watch |= park.Writable
	}
	for _, t := range [...]time.Time{s.again, s.firstBy, pause} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	if s.fragmented {
		next = earlier(next, s.begun.Add(frameTimeout))
	}
	// Setting the timer in every run would cost more than an early Timeout now and then.
	if !s.timer.After(now) || next.Before(s.timer) || next.Sub(s.timer) > pingEvery/4 {
		s.timer = next
		s.spot.Rest(next.Sub(now))
	}
	if s.look && s.options.Patient { // the last write made room
		s.spot.Wake()
	}
	if s.hasInput(now) || s.isPaused(now) && !s.spot.Polled() {
		return nil // nothing else may read before the next run, or before the pause ends
	}
	return s.spot.Watch(watch)
}

// hasInput reports whether there may be something to read now.
func (s *Socket) hasInput(now time.Time) bool {
	return (s.unread || len(s.early) > 0) && !s.isPaused(now)
}

// end sends the close frame, if the client is still there, and closes.
func (s *Socket) end(why error) {
	s.release()
	c := s.protocol.End(s, why)
	if errors.Is(why, ErrGone) {
		s.dropBehind()
		s.spot.Close()
		return
	}
	s.control(ws.OpClose, closeBody(c))
	if s.Flush() != nil || s.Behind() {
		s.dropBehind()
		s.spot.Close()
		return
	}
	s.spot.Linger(closeTimeout)
}
