package inboxhttp

import (
	"context"
	"time"

	"inbox"
	"inbox/internal/meter"
	"inbox/internal/park"
)

// A transport answers one poll or stream from an [inbox.Session]: it writes what a look
// returns and decides when to write without new messages. Either [drive] runs it in the
// handler's goroutine, or [parked] runs it without a goroutine. Sockets have their own
// driver in package socket, because they also read.
type transport interface {
	// found handles the result of a look, or the error that ended the session.
	found(inbox.Batch, error) step
	// idle is called when there is no reason to look.
	idle() step
	// due returns the latest time of the next call to idle.
	due() time.Time
}

// A step is what the driver does next.
type step int

const (
	rest step = iota // wait until the session is woken or something is due
	look
	end // the session has ended and the transport has written its end
)

// advance looks if there is a reason to, and repeats until the transport rests or ends.
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

// drive runs a session in its handler's goroutine: over HTTP/2 and wherever connections
// cannot be parked. It returns nil when the session has ended and an error when the
// client has left. If woken is true, the first step is a look.
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

// drive handles one event. If the transport rests afterwards, drive arms the timer and
// watches the connection for the next event. It ends the session if the client has left.
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

// leave ends the session from this side, as when the client has left, and closes the
// connection.
func (p *parked) leave() {
	p.wait.End()
	p.session.Leave(context.Background())
	p.spot.Close()
}
