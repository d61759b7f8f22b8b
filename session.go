package inbox

import (
	"context"
	"time"
)

// A Session is one receiver's stay at an inbox, independent of the transport. It tracks
// the position in the inbox, and its [Waker] receives the wakes. While it waits, it looks
// at least once every half TTL, which keeps the inbox alive and makes up for lost wakes.
//
// The transport drives it. A parked connection calls Look when it is woken or Due. A
// goroutine alternates between Look and Wait, or calls Receive, which does both.
//
// The methods are not safe for concurrent use.
type Session struct {
	store    Store
	peer     Peer
	waker    *Waker
	limit    int
	draining <-chan struct{}
	acked    Cursor    // the next Look acknowledges up to here
	sent     Cursor    // the last message the client was given
	again    time.Time // the deadline of the next look
	woken    chan struct{}
}

// NewSession returns a session of p that begins after the given position. A look returns
// at most limit messages. The first look makes the session the inbox's receiver. After
// draining is closed, the next look ends the session; draining may be nil.
func NewSession(s Store, p Peer, after Cursor, limit int, w *Waker, draining <-chan struct{}) *Session {
	return &Session{store: s, peer: p, waker: w, limit: limit, acked: after, draining: draining}
}

// Waker returns the waker passed to NewSession.
func (s *Session) Waker() *Waker { return s.waker }

// Peer returns the owner of the inbox.
func (s *Session) Peer() Peer { return s.peer }

// Look acknowledges up to the position passed to Acknowledge, restarts the inbox's expiry
// and returns the oldest messages; see [Store.Look]. They include messages that the
// client was given before; see Fresh.
//
// Errors: those of [Store.Look], and ErrDraining, in which case the session has left.
func (s *Session) Look(ctx context.Context) (Batch, error) {
	if s.isDraining() {
		s.Leave(ctx)
		return Batch{}, ErrDraining
	}
	b, err := s.store.Look(ctx, s.peer, s.acked, s.limit, s.waker)
	if err != nil {
		return Batch{}, err
	}
	s.peer.Admitted = true
	if b.Reset {
		s.acked = Cursor{}
	}
	s.again = time.Now().Add(b.TTL / 2)
	return b, nil
}

// Again returns the time by which the session has to look, woken or not.
func (s *Session) Again() time.Time { return s.again }

// Due reports whether the session has to look even though it was not woken: Again has
// passed, or the server is draining.
func (s *Session) Due() bool { return !time.Now().Before(s.again) || s.isDraining() }

func (s *Session) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// Acknowledge marks the messages up to c as processed. The next Look or Leave
// acknowledges them in the store.
func (s *Session) Acknowledge(c Cursor) { s.acked = c }

// Acknowledged returns the position last passed to Acknowledge or NewSession. It is zero
// after a reset.
func (s *Session) Acknowledged() Cursor { return s.acked }

// Sent records that the client was given the messages up to c, whether or not it has
// acknowledged them.
func (s *Session) Sent(c Cursor) { s.sent = c }

// Fresh returns the messages that the client has not been given yet.
func (s *Session) Fresh(messages []Message) []Message {
	for i := range messages {
		if messages[i].Cursor.Life != s.sent.Life || messages[i].Cursor.Seq > s.sent.Seq {
			return messages[i:]
		}
	}
	return nil
}

// Wait blocks until the session is woken or Due, or until the given time. It reports
// false if only time has passed, and true if the session was woken or the server is
// draining.
//
// Errors: ctx.Err, in which case the session has left.
func (s *Session) Wait(ctx context.Context, until time.Time) (woken bool, err error) {
	if s.woken == nil {
		woken := make(chan struct{}, 1) // several pending wakes count as one
		s.woken = woken
		s.waker.Notify(func() { // Park may be replacing this function
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}
	if s.again.Before(until) {
		until = s.again
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-s.woken:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-s.draining:
		return true, nil
	case <-ctx.Done():
		s.Leave(ctx)
		return false, ctx.Err()
	}
}

// Park makes every later wake call wake, instead of ending a Wait. Wait must not be
// called afterwards. If a wake is pending that no Wait has consumed, Park calls wake
// immediately. wake must not block.
func (s *Session) Park(wake func()) {
	s.waker.Notify(wake)
	select {
	case <-s.woken: // a nil channel if Wait was never called
		wake()
	default:
	}
	s.woken = nil
}

// Receive looks until there is a fresh message, a reset or an error to return. After the
// given time it returns the empty batch of its last look.
//
// Errors: those of Look and Wait.
func (s *Session) Receive(ctx context.Context, wait time.Duration) (Batch, error) {
	deadline := time.Now().Add(wait)
	for {
		b, err := s.Look(ctx)
		if err != nil || len(s.Fresh(b.Messages)) > 0 || b.Reset || !time.Now().Before(deadline) {
			return b, err
		}
		if _, err := s.Wait(ctx, deadline); err != nil {
			return Batch{}, err
		}
	}
}

// Leave ends the stay unless the store has already ended it. It acknowledges up to the
// position passed to Acknowledge, and the inbox lives for a full TTL from now. Call it
// when a session ends without a last look, even if ctx has ended.
func (s *Session) Leave(ctx context.Context) {
	// If this fails, the messages stay, and the inbox expires a TTL after its last look.
	_ = s.store.Leave(context.WithoutCancel(ctx), s.peer, s.acked, s.waker)
}
