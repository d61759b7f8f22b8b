// Package socket is what every protocol over WebSocket (RFC 6455) has in common:
// the handshake, frames and what is wrong with them, pings, deadlines, closing.
// What is said is a [Protocol]'s.
//
// A socket is parked all its life (package park): while it is silent it has no
// goroutine and no buffer. It takes text and no extension.
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
	pingEvery    = 20 * time.Second // of a socket that is silent
	pongTimeout  = 10 * time.Second
	frameTimeout = 10 * time.Second // from a message's first byte to its last
	writeTimeout = 10 * time.Second // for a client to read what is said in one run
	closeTimeout = 2 * time.Second  // for a client that has read our close frame to close too

	flushAt   = 8 << 10 // is written at once, about
	maxFrames = 64      // are read before anything else is looked at
)

// A Protocol is what is said on one socket. Its methods are never called twice at
// once, and are where the Socket may be used (but for Wake). After an error of
// one of them only End is called.
type Protocol interface {
	// Look is called before anything is read, then after a Wake, and at the time
	// last given to LookAgain.
	Look(s *Socket, now time.Time) error
	// Message handles a text message. It is UTF-8, and changes after the call.
	Message(s *Socket, now time.Time, text []byte) error
	// End is called once, last, with the reason. The client hears what it
	// returns, if it is there to hear.
	End(s *Socket, why error) Close
}

// Close is how a socket ends, for whatever reason: an error that the client is
// told in a close frame.
type Close struct {
	Code   ws.StatusCode
	Reason string // at most 123 bytes
}

func (c Close) Error() string { return c.Reason }

// ErrGone says that the client has left, and that there is nobody to tell.
var ErrGone = errors.New("the client is gone")

// ErrNoMessage says that the first message did not come in time.
var ErrNoMessage = errors.New("no message in time")

// Options are those of one endpoint.
type Options struct {
	Subprotocol  string         // which the client has to offer; none
	MaxMessage   int            // bytes; longer ones close the socket with TooLarge
	TooLarge     ws.StatusCode  // 1009
	FirstMessage time.Duration  // until which it has to have come; no limit
	InFlight     *flight.Budget // that messages count for until they were handled

	// Frame, if not nil, counts each frame of a client that ends no message. Its error ends
	// the socket: nothing else stops a client that sends pings without end.
	Frame func(client netip.Addr) error
}

// A Socket is one client's connection.
type Socket struct {
	protocol Protocol
	options  *Options
	client   netip.Addr
	spot     *park.Spot
	*work    // during a run

	started  bool
	look     bool      // soon
	pinged   bool      // and nothing was heard since
	deadline time.Time // of the next ping, or of its pong
	firstBy  time.Time // the first message has to be there; zero when it is
	again    time.Time // to look at the latest; zero: only when woken
	timer    time.Time // when the spot's Timeout comes

	answer     []byte         // to the handshake, until it is written with what comes first
	early      []byte         // read beyond the handshake
	fragmented bool           // a message has begun, and another frame of it is to come
	message    flight.Message // what came of it
	begun      time.Time      // zero when no message has
}

// Wake has the protocol look. It may be called by anybody once there was a first
// look, and does not block.
func (s *Socket) Wake() { s.spot.Wake() }

// Client returns the address of the client, which may be invalid.
func (s *Socket) Client() netip.Addr { return s.client }

// LookSoon has the protocol look before the socket rests.
func (s *Socket) LookSoon() { s.look = true }

// LookAgain has the protocol look at this time, or somewhat earlier if there is
// something else to do then.
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

// step does what there is to do and leaves what there is to say in out.
func (s *Socket) step(e park.Events, now time.Time) error {
	if !s.started {
		s.started = true
		if err := s.protocol.Look(s, now); err != nil {
			return err
		}
		e &^= park.Woken
	}
	if e&(park.Readable|park.Gone) != 0 || len(s.early) > 0 {
		if err := s.read(now); err != nil {
			return err
		}
	}
	switch {
	case !s.firstBy.IsZero() && !now.Before(s.firstBy):
		return ErrNoMessage
	case s.fragmented && s.message.Lost(s.options.InFlight):
		return errLost
	case s.fragmented && now.Sub(s.begun) >= frameTimeout:
		return Close{ws.StatusPolicyViolation, "a message took too long to arrive"}
	}
	if !now.Before(s.deadline) {
		if s.pinged {
			return ErrGone
		}
		s.control(ws.OpPing, nil)
		s.pinged, s.deadline = true, now.Add(pongTimeout)
		// In one go with a look that would be due before the next ping.
		s.look = s.look || !s.again.IsZero() && s.again.Before(now.Add(pingEvery))
	}
	if s.look || e&park.Woken != 0 || !s.again.IsZero() && !now.Before(s.again) {
		s.look = false
		return s.protocol.Look(s, now)
	}
	return nil
}

// rest ends a run: nothing is kept but what waits.
func (s *Socket) rest(now time.Time) error {
	next := s.deadline
	for _, t := range [...]time.Time{s.again, s.firstBy} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	if s.fragmented {
		next = earlier(next, s.begun.Add(frameTimeout))
	}
	// Setting it in every run would cost more than one that comes too early now
	// and then.
	if !s.timer.After(now) || next.Before(s.timer) || next.Sub(s.timer) > pingEvery/4 {
		s.timer = next
		s.spot.Rest(next.Sub(now))
	}
	return s.spot.Watch(park.Readable)
}

// end says why, if anybody is there to hear it, and closes.
func (s *Socket) end(why error) {
	s.release()
	c := s.protocol.End(s, why)
	if errors.Is(why, ErrGone) {
		s.spot.Close()
		return
	}
	s.control(ws.OpClose, closeBody(c))
	if s.Flush() != nil {
		s.spot.Close()
		return
	}
	s.spot.Linger(closeTimeout)
}
