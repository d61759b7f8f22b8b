package socket

import (
	"time"
)

const (
	// maxBehind bounds what a patient socket keeps of frames that its client has not
	// read, in bytes. A protocol adds nothing while the socket is behind, so only
	// answers to the client's own control frames can reach it.
	maxBehind = 1 << 20
	// stuckTimeout bounds how long a client may read nothing at all. A page that its
	// browser has suspended can come back within it.
	stuckTimeout = 2 * time.Minute
)

// strain is what a socket keeps beyond the usual: frames that a client does not read
// (see Options.Patient), and a pause.
type strain struct {
	behind []byte    // counts for the budget
	since  time.Time // when the kernel last took something
	paused time.Time // the end of a pause, or zero
}

func (s *Socket) strained() *strain {
	if s.strain == nil {
		s.strain = new(strain)
	}
	return s.strain
}

// Behind reports whether the client has not read everything that was sent. A protocol should
// send nothing more until its next Look.
func (s *Socket) Behind() bool {
	return s.strain != nil && len(s.strain.behind) > 0 || s.spot.Behind()
}

// Pause stops reading until the given time. Meanwhile the client's messages stay in the
// network. A Look precedes the next Message.
func (s *Socket) Pause(until time.Time) { s.strained().paused = until }

// isPaused reports whether the socket must not read now.
func (s *Socket) isPaused(now time.Time) bool {
	return s.strain != nil && now.Before(s.strain.paused)
}

// endPause reports whether a pause is over.
func (s *Socket) endPause(now time.Time) bool {
	x := s.strain
	if x == nil || x.paused.IsZero() || now.Before(x.paused) {
		return false
	}
	x.paused = time.Time{}
	s.relax()
	return true
}

// relax frees the strain when nothing is left of it.
func (s *Socket) relax() {
	if x := s.strain; x != nil && len(x.behind) == 0 && x.paused.IsZero() && !s.spot.Behind() {
		s.strain = nil
	}
}

// offer writes what the kernel takes of part and keeps the rest.
func (s *Socket) offer(part []byte, now time.Time) error {
	if err := s.push(now); err != nil || len(part) == 0 {
		return err
	}
	if !s.Behind() {
		n, err := s.spot.Offer(part, writeTimeout)
		if err != nil {
			return ErrGone
		}
		if part = part[n:]; s.spot.Behind() || len(part) > 0 {
			s.strained().since = now
		}
	}
	if len(part) == 0 {
		return nil
	}
	x := s.strained()
	if len(x.behind)+len(part) > maxBehind {
		return ErrGone
	}
	if err := s.options.InFlight.Take(s.client, len(part)); err != nil {
		return ErrGone
	}
	x.behind = append(x.behind, part...)
	return nil
}

// push writes what the kernel takes of what was kept.
func (s *Socket) push(now time.Time) error {
	if !s.Behind() {
		return nil
	}
	x := s.strained()
	wasBehind := s.spot.Behind()
	n, err := s.spot.Offer(x.behind, writeTimeout)
	if err != nil {
		return ErrGone
	}
	s.options.InFlight.Give(s.client, n)
	if n > 0 || wasBehind && !s.spot.Behind() {
		x.since = now
	}
	if x.behind = x.behind[n:]; len(x.behind) == 0 {
		x.behind = nil
	}
	if !s.Behind() {
		s.look = true // the protocol may have waited for this
		s.relax()
	}
	return nil
}

// isStuck reports whether the client has read nothing for too long.
func (s *Socket) isStuck(now time.Time) bool {
	if !s.Behind() {
		return false
	}
	x := s.strained()
	if x.since.IsZero() {
		x.since = now
	}
	return now.Sub(x.since) >= stuckTimeout
}

// dropBehind releases the bytes in flight of frames that will not be sent.
func (s *Socket) dropBehind() {
	if s.strain != nil {
		s.options.InFlight.Give(s.client, len(s.strain.behind))
		s.strain = nil
	}
}
