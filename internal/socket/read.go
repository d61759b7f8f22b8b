package socket

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"inbox/internal/flight"
	"inbox/internal/park"
	"inbox/internal/problem"
)

// read handles the frames that have arrived.
func (s *Socket) read(now time.Time) error {
	handled := 0
	for n := 1; ; n++ {
		s.work.begun, s.waits = s.buf.Buffered() > 0, s.frameLimit(now)
		header, err := ws.ReadHeaderBuffer(s.buf, s.head[:])
		if err != nil {
			return s.readFailed(err)
		}
		s.pinged, s.deadline = false, now.Add(pingEvery)
		if err := s.frame(header, now); err != nil {
			return err
		}
		if s.isPaused(now) {
			s.keepUnread()
			return nil
		}
		if s.buf.Buffered() == 0 && len(s.early) == 0 && !s.unread && s.spot.Drained() {
			return nil
		}
		if handled += int(header.Length); n >= maxFrames || handled >= maxHandled {
			s.yield()
			return nil
		}
		if s.waited { // also deliver messages to a client that pauses within a frame
			now = time.Now()
			if err := s.protocol.Look(s, now); err != nil {
				return err
			}
		}
	}
}

// yield ends the reading of a run, so that other sockets get their turn, those that now
// have something to send among them.
func (s *Socket) yield() {
	s.keepUnread()
	s.spot.Wake()
}

// keepUnread keeps the unread bytes of buf for the next run.
func (s *Socket) keepUnread() {
	n := s.buf.Buffered()
	p, _ := s.buf.Peek(n)
	s.early = slices.Concat(p, s.early)
	s.buf.Discard(n)
	s.unread = true
}

// frameLimit returns the deadline for the rest of a frame that starts now.
func (s *Socket) frameLimit(now time.Time) time.Time {
	limit := now
	if s.fragmented {
		limit = s.begun
	}
	if limit = limit.Add(frameTimeout); !s.firstBy.IsZero() && s.firstBy.Before(limit) {
		return s.firstBy
	}
	return limit
}

// frame reads the rest of one frame and handles it.
func (s *Socket) frame(header ws.Header, now time.Time) error {
	state := ws.StateServerSide
	if s.fragmented {
		state |= ws.StateFragmented
	}
	if err := ws.CheckHeader(header, state); err != nil {
		return Close{ws.StatusProtocolError, err.Error()}
	}
	if s.options.Frame != nil && (header.OpCode.IsControl() || !header.Fin) {
		if err := s.options.Frame(s.client); err != nil {
			return err
		}
	}
	if header.OpCode.IsControl() {
		return s.controlFrame(header)
	}
	if header.OpCode == ws.OpBinary {
		return Close{ws.StatusUnsupportedData, "frames must be text"}
	}
	if header.Length > int64(s.options.MaxMessage-s.message.Len()) {
		code := s.options.TooLarge
		if code == 0 {
			code = ws.StatusMessageTooBig
		}
		return Close{code, "a message is larger than this server accepts"}
	}
	if s.begun.IsZero() {
		s.begun = now
	}
	payload, err := s.data(header)
	if err != nil {
		return err
	}
	if s.fragmented = !header.Fin; s.fragmented {
		return nil
	}
	defer s.release()
	if !utf8.Valid(payload) {
		return Close{ws.StatusInvalidFramePayloadData, "a message must be valid UTF-8"}
	}
	s.firstBy = time.Time{}
	return s.protocol.Message(s, now, payload)
}

func (s *Socket) controlFrame(header ws.Header) error {
	payload, err := s.payload(header)
	if err != nil {
		return err
	}
	switch header.OpCode {
	case ws.OpPing:
		s.control(ws.OpPong, payload)
		return s.flushFrom(flushAt)
	case ws.OpClose:
		if len(payload) == 0 {
			return Close{ws.StatusNormalClosure, ""}
		}
		code, reason := ws.ParseCloseFrameData(payload)
		switch {
		case len(payload) < 2:
			return Close{ws.StatusProtocolError, "a close frame of one byte"}
		case !mayClose(code):
			return Close{ws.StatusProtocolError, fmt.Sprintf("a close frame with the invalid code %d", code)}
		case !utf8.ValidString(reason):
			return Close{ws.StatusProtocolError, "a close frame whose reason is not UTF-8"}
		}
		return Close{code, ""}
	}
	return nil
}

// mayClose reports whether a close frame may carry this code: one that RFC 6455 or IANA's
// registry defines for frames, or one of libraries (3000 to 3999) and applications (4000
// to 4999). ws.CheckCloseFrameData knows neither 1012 to 1014 nor the upper bound.
func mayClose(code ws.StatusCode) bool {
	return 1000 <= code && code <= 1003 || 1007 <= code && code <= 1014 || 3000 <= code && code <= 4999
}

// payload reads the payload of a control frame. The next read overwrites it.
func (s *Socket) payload(header ws.Header) ([]byte, error) {
	p, err := s.buf.Peek(int(header.Length)) // at most 125 bytes
	if err != nil {
		return nil, s.readFailed(err)
	}
	s.buf.Discard(len(p))
	ws.Cipher(p, header.Mask, 0)
	return p, nil
}

// data reads the payload of a frame and returns the message so far. If the message is a
// single frame that was already buffered, the next read overwrites it.
func (s *Socket) data(header ws.Header) ([]byte, error) {
	n := int(header.Length)
	if header.Fin && !s.fragmented && n <= s.buf.Buffered() {
		p, _ := s.buf.Peek(n)
		s.buf.Discard(n)
		ws.Cipher(p, header.Mask, 0)
		return p, nil
	}
	if s.message.Cut == nil {
		s.message.Cut = s.spot.Wake
	}
	var pace park.Pace
	for done := 0; done < n; {
		step := min(n-done, s.buf.Buffered())
		if step == 0 {
			step = s.await(done, n-done, &pace)
		}
		p, err := s.message.Room(s.client, step, s.options.InFlight)
		if err != nil {
			return nil, noRoom(err)
		}
		if err := s.fill(p); err != nil {
			return nil, err
		}
		ws.Cipher(p, header.Mask, done)
		done += len(p)
	}
	if !header.Fin {
		return nil, nil
	}
	return s.message.Bytes(), nil
}

// errLost ends a socket whose message has paused while others need the memory.
var errLost = noRoom(problem.ServerFull)

// noRoom converts the error for a message without room into a close frame.
func noRoom(err error) error {
	p, _ := errors.AsType[problem.Problem](err)
	return Close{ws.StatusCode(p.Close), p.Code}
}

// fill reads all of p.
func (s *Socket) fill(p []byte) error {
	const look = 250 * time.Millisecond // how often to check whether the message was given up
	by := s.waits
	for len(p) > 0 {
		if s.message.Len() > flight.Held {
			s.waits = earlier(by, time.Now().Add(look))
		}
		n, err := s.buf.Read(p)
		p = p[n:]
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && time.Now().Before(by) {
			if s.message.Lost(s.options.InFlight) {
				return errLost
			}
			continue
		}
		if err != nil {
			return s.readFailed(err)
		}
	}
	return nil
}

// await leaves the rest of a frame in the kernel until it is complete, if possible, and
// returns how many bytes to read now.
func (s *Socket) await(done, n int, pace *park.Pace) int {
	switch {
	case len(s.early) > 0:
		return min(n, len(s.early))
	case n <= flight.Chunk || s.Flush() != nil: // the following read reports the error
	case s.spot.Await(done, n, pace, s.waits):
		s.waited = true
		return n
	}
	return min(n, pace.Step()) // allocate as bytes arrive, not as they are announced
}

// release returns the memory of a message to the budget.
func (s *Socket) release() {
	s.message.Release(s.client, s.options.InFlight)
	s.begun, s.fragmented = time.Time{}, false
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Read implements io.Reader for buf. Before a frame has begun it does not block; after
// that it waits for the rest.
func (w *work) Read(p []byte) (int, error) {
	s := w.s
	if len(s.early) > 0 {
		n := copy(p, s.early)
		if s.early = s.early[n:]; len(s.early) == 0 {
			s.early = nil
		}
		w.begun = true
		return n, nil
	}
	s.unread = false
	if !w.begun {
		w.begun = true
		return s.spot.ReadNow(p)
	}
	if err := s.Flush(); err != nil { // before waiting
		return 0, err
	}
	w.waited, w.until = true, time.Time{}
	return s.spot.Read(p, w.waits)
}

// readFailed converts a read error into the reason why the socket ends, or nil if it need
// not end.
func (s *Socket) readFailed(err error) error {
	switch {
	case errors.Is(err, park.ErrNothing):
		return nil // the event was outdated
	case errors.Is(err, ws.ErrHeaderLengthMSB), errors.Is(err, ws.ErrHeaderLengthUnexpected):
		return Close{ws.StatusProtocolError, err.Error()}
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		if !s.firstBy.IsZero() {
			return ErrNoMessage
		}
		return Close{ws.StatusPolicyViolation, "a frame took too long to arrive"}
	}
	return ErrGone
}
