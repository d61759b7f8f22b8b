package inbox

import (
	"context"
	"sync/atomic"
	"time"
)

// A Receiver waits at one inbox, and is the one whom a store wakes. A store
// never waits: whoever does, does it in Receive or, without a goroutine, by
// OnWake and looks of its own.
//
// A wake is a hint to look again, the store is the truth. So a message is never
// inside a channel, and a lost wake costs time and nothing else.
//
// Wake and End may be called by anybody, also under a lock: they never block.
// The other methods are for the one who waits.
type Receiver struct {
	woken    chan struct{} // holds at most one wake: two mean no more than one
	draining <-chan struct{}
	onWake   atomic.Pointer[func()]
	ended    atomic.Pointer[error]
	sent     Cursor
}

// NewReceiver makes a Receiver. Closing draining ends its waits in Receive, with
// ErrDraining.
func NewReceiver(draining <-chan struct{}) *Receiver {
	return &Receiver{woken: make(chan struct{}, 1), draining: draining}
}

// NewReceiverFunc makes a Receiver for whom wake is called, which must not
// block, and who is not to call Receive.
func NewReceiverFunc(wake func()) *Receiver {
	r := &Receiver{}
	r.onWake.Store(&wake)
	return r
}

// Wake makes the receiver look again.
func (r *Receiver) Wake() {
	if wake := r.onWake.Load(); wake != nil {
		(*wake)()
		return
	}
	select {
	case r.woken <- struct{}{}:
	default:
	}
	// If OnWake came in between, it may have been too early to see that.
	if wake := r.onWake.Load(); wake != nil {
		(*wake)()
	}
}

// OnWake has wake called from now on, which must not block, instead of freeing
// Receive, which is not to be called any more. It is called at once if there was
// a wake since the last look.
func (r *Receiver) OnWake(wake func()) {
	r.onWake.Store(&wake)
	select {
	case <-r.woken:
		wake()
	default:
	}
}

// End tells the receiver at its next look that it waits no longer, and why
// (ErrReplaced, ErrClosed), and wakes it. The first reason stays.
func (r *Receiver) End(why error) {
	r.ended.CompareAndSwap(nil, &why)
	r.Wake()
}

// Err returns why the receiver was ended, or nil.
func (r *Receiver) Err() error {
	if why := r.ended.Load(); why != nil {
		return *why
	}
	return nil
}

// Sent says that the owner was given the messages up to this cursor, though they
// may not be acknowledged: Receive waits for later ones.
func (r *Receiver) Sent(upTo Cursor) { r.sent = upTo }

// Fresh returns those of the messages that are beyond what was Sent.
func (r *Receiver) Fresh(messages []Message) []Message {
	for i := range messages {
		if messages[i].Cursor.Life != r.sent.Life || messages[i].Cursor.Seq > r.sent.Seq {
			return messages[i:]
		}
	}
	return nil
}

// Receive is [Store.Receive] that waits, at most for wait, until there is
// something to return: a fresh message, a reset or an error. When there was
// nothing it returns the batch without.
//
// It looks again by itself often enough that the inbox does not expire
// meanwhile, and that a lost wake is made good. However it ends, the inbox lives
// for a whole TTL from then on.
//
// Errors: those of Store.Receive, ErrDraining, and ctx.Err.
func (r *Receiver) Receive(ctx context.Context, s Store, p Peer, after Cursor, limit int, wait time.Duration) (Batch, error) {
	b, err := s.Receive(ctx, p, after, limit, r)
	if err != nil || len(r.Fresh(b.Messages)) > 0 || b.Reset || wait <= 0 {
		return b, err
	}
	deadline := time.Now().Add(wait)
	timer := time.NewTimer(min(wait, b.TTL/2))
	defer timer.Stop()
	for {
		select {
		case <-r.woken:
		case <-timer.C:
		case <-r.draining:
			r.Leave(ctx, s, p)
			return Batch{}, ErrDraining
		case <-ctx.Done():
			r.Leave(ctx, s, p)
			return Batch{}, ctx.Err()
		}
		b, err := s.Receive(ctx, p, after, limit, r)
		left := time.Until(deadline)
		if err != nil || len(r.Fresh(b.Messages)) > 0 || b.Reset || left <= 0 {
			return b, err
		}
		timer.Reset(min(left, b.TTL/2))
	}
}

// Await waits, at most for so long, and reports whether there is a reason to look
// again: a wake since the last look, a drain, or that ctx has ended.
func (r *Receiver) Await(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-r.woken:
		return true
	case <-r.draining:
		return true
	case <-ctx.Done():
		return true
	case <-timer.C:
		return false
	}
}

// Leave restarts the expiry of p's inbox: its owner stops asking now, not when
// it came. Whoever waits and ends without a look calls it.
func (r *Receiver) Leave(ctx context.Context, s Store, p Peer) {
	// After an error, as that of a receiver that was ended, the inbox lives on
	// from its last look.
	_, _ = s.Receive(context.WithoutCancel(ctx), p, Cursor{}, 0, r)
}
