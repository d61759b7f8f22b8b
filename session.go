package inbox

import (
	"context"
	"time"
)

// A Session is one receiver's stay at an inbox, on whatever transport: it looks,
// says when to look again, and ends with a reason. It knows the position in the
// inbox; its [Waker] receives the wakes. A session that waits looks each half TTL
// at the latest, which keeps the inbox alive and makes up for a lost wake.
//
// A driver runs it. A parked connection looks when it is woken or Due. A goroutine
// calls Wait between two looks, or Receive for all of that.
//
// The methods are not safe for concurrent use.
type Session struct {
	store    Store
	peer     Peer
	waker    *Waker
	limit    int
	draining <-chan struct{}
	acked    Cursor    // acknowledged by the next look
	sent     Cursor    // of the last message that the client was given
	again    time.Time // when to look at the latest
	woken    chan struct{}
}

// NewSession returns a session of p that begins after the given position. A look
// returns at most limit messages. The session becomes the inbox's receiver with
// its first look. When draining is closed, which may be nil, the next look ends it.
func NewSession(s Store, p Peer, after Cursor, limit int, w *Waker, draining <-chan struct{}) *Session {
	return &Session{store: s, peer: p, waker: w, limit: limit, acked: after, draining: draining}
}

// Waker returns the waker that was given to NewSession.
func (s *Session) Waker() *Waker { return s.waker }

// Peer returns the owner of the inbox.
func (s *Session) Peer() Peer { return s.peer }

// Look acknowledges what was given to Acknowledge, restarts the inbox's expiry
// and returns the oldest messages: see [Store.Look]. Those that the client was
// given before are among them; see Fresh.
//
// Errors: those of [Store.Look], and ErrDraining, for which the session leaves.
func (s *Session) Look(ctx context.Context) (Batch, error) {
	if s.drains() {
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

// Again is when the session has to look at the latest.
func (s *Session) Again() time.Time { return s.again }

// Due reports whether the session has to look although nobody woke it: Again has
// come, or the server drains.
func (s *Session) Due() bool { return !time.Now().Before(s.again) || s.drains() }

func (s *Session) drains() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// Acknowledge has the next look, or Leave, acknowledge the messages up to c.
func (s *Session) Acknowledge(c Cursor) { s.acked = c }

// Acknowledged returns the position last given to Acknowledge, or to NewSession.
// After a reset it is zero.
func (s *Session) Acknowledged() Cursor { return s.acked }

// Sent notes that the client was given the messages up to c, though it may not
// have acknowledged them.
func (s *Session) Sent(c Cursor) { s.sent = c }

// Fresh returns those of the messages that the client was not given yet.
func (s *Session) Fresh(messages []Message) []Message {
	for i := range messages {
		if messages[i].Cursor.Life != s.sent.Life || messages[i].Cursor.Seq > s.sent.Seq {
			return messages[i:]
		}
	}
	return nil
}

// Wait blocks until the session is woken or Due, or until the given time. It reports
// whether there is a reason to look other than that Again has come.
//
// Errors: ctx.Err, for which the session leaves.
func (s *Session) Wait(ctx context.Context, until time.Time) (woken bool, err error) {
	if s.woken == nil {
		woken := make(chan struct{}, 1) // two wakes mean no more than one
		s.woken = woken
		s.waker.Notify(func() { // perhaps while Park replaces it
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

// Park has wake called for every wake from now on, instead of freeing Wait, which
// must not be called any more. It calls wake at once if there was a wake that no
// Wait has returned for. wake must not block.
func (s *Session) Park(wake func()) {
	s.waker.Notify(wake)
	select {
	case <-s.woken: // nil without a Wait
		wake()
	default:
	}
	s.woken = nil
}

// Receive looks until there is something to return: a fresh message, a reset or
// an error. After wait it returns the empty batch of a last look.
//
// Errors: those of Look, and those of Wait.
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

// Leave ends the stay, unless the store has ended it: the inbox acknowledges what
// was given to Acknowledge and lives for a whole TTL from now. A session that ends
// without a last look calls it, also when ctx has ended.
func (s *Session) Leave(ctx context.Context) {
	// After an error the messages stay, and the inbox lives from the last look on.
	_ = s.store.Leave(context.WithoutCancel(ctx), s.peer, s.acked, s.waker)
}
