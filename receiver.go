package inbox

import (
	"context"
	"sync/atomic"
	"time"
)

// A Receiver waits at one inbox, and is the one whom a store wakes. This file
// is the only place that waits: a store never does.
//
// A wake is a hint to look again, the store is the truth. So a message is never
// inside a channel, and a lost wake costs time and nothing else.
//
// One goroutine calls Receive; Wake and End may be called by any, also under a
// lock: they never block.
type Receiver struct {
	woken    chan struct{} // holds at most one wake: two mean no more than one
	draining <-chan struct{}
	ended    atomic.Pointer[error]
}

// NewReceiver makes a Receiver. Closing draining ends its waits, with
// ErrDraining.
func NewReceiver(draining <-chan struct{}) *Receiver {
	return &Receiver{woken: make(chan struct{}, 1), draining: draining}
}

// Wake makes the receiver look again.
func (r *Receiver) Wake() {
	select {
	case r.woken <- struct{}{}:
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

// Receive is [Store.Receive] that waits, at most for wait, until there is
// something to return: a message, a reset or an error. When there was nothing
// it returns the empty batch.
//
// It looks again by itself often enough that the inbox does not expire
// meanwhile, and that a lost wake is made good. However it ends, the inbox lives
// for a whole TTL from then on.
//
// Errors: those of Store.Receive, ErrDraining, and ctx.Err.
func (r *Receiver) Receive(ctx context.Context, s Store, p Peer, after Cursor, limit int, wait time.Duration) (Batch, error) {
	deadline := time.Now().Add(wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		b, err := s.Receive(ctx, p, after, limit, r)
		left := time.Until(deadline)
		if err != nil || len(b.Messages) > 0 || b.Reset || left <= 0 {
			return b, err
		}
		timer.Reset(min(left, b.TTL/2))
		select {
		case <-r.woken:
			continue
		case <-timer.C:
			continue
		case <-r.draining:
			err = ErrDraining
		case <-ctx.Done():
			err = ctx.Err()
		}
		// Its owner stops asking now, not when it came.
		_, _ = s.Receive(context.WithoutCancel(ctx), p, Cursor{}, 0, r)
		return Batch{}, err
	}
}
