package inboxhttp

import (
	"context"
	"time"

	"inbox"
	"inbox/internal/meter"
	"inbox/internal/park"
)

// A transport is what a poll or a stream makes of a session: how it answers, and when
// it has something to say though nothing came. It is driven by [drive] in its handler's
// goroutine, or by [parked] without one. Sockets are driven by package socket, which
// also reads.
type transport interface {
	// found takes what a look has found, or why the stay has ended.
	found(inbox.Batch, error) step
	// idle is called when there is no reason to look.
	idle() step
	// due is when idle has to be called at the latest.
	due() time.Time
}

// A step is what a transport wants next.
type step int

const (
	rest step = iota // until the session is woken, or something is due
	look
	end // the stay is over, and the transport has said so
)

// advance looks, if there is a reason to, until the transport rests or ends.
func advance(ctx context.Context, s *inbox.Session, t transport, woken bool) step {
	next := look
	if !woken && !s.Due() {
		next = t.idle()
	}
	for next == look {
		next = t.found(s.Look(ctx))
	}
	return next
}

// drive runs a session in the goroutine of its handler: over HTTP/2, and where
// connections cannot be parked. It returns when the stay has ended or, with an error,
// when the client has left. woken says that there is a reason to look already.
func drive(ctx context.Context, s *inbox.Session, t transport, woken bool) error {
	for advance(ctx, s, t, woken) == rest {
		var err error
		if woken, err = s.Wait(ctx, t.due()); err != nil {
			return err
		}
	}
	return nil
}

// parked runs a session whose connection waits without a goroutine.
type parked struct {
	spot    *park.Spot
	session *inbox.Session
	wait    meter.Wait
}

// drive is called for each event, and watches for the next one if the transport rests.
// A client that has left ends the stay.
func (p *parked) drive(t transport, e, watch park.Events) {
	if e&park.Gone != 0 && park.StateOf(p.spot.Context()) != park.Open {
		p.leave()
		return
	}
	if advance(context.Background(), p.session, t, e&park.Woken != 0) == end {
		return
	}
	next := t.due()
	if again := p.session.Again(); again.Before(next) {
		next = again
	}
	p.spot.Rest(time.Until(next))
	if p.spot.Watch(watch) != nil {
		p.leave()
	}
}

// leave is for an end that the inbox does not know of.
func (p *parked) leave() {
	p.wait.End()
	p.session.Leave(context.Background())
	p.spot.Close()
}
