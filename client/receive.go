package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"inbox"
)

// linger is how long the connection is held after a Receive, for the next one.
const linger = time.Minute

// Receive returns the oldest message that this Client has not handed over yet,
// and waits until there is one. The next call acknowledges it: a message whose
// receiver did not come so far is received again, by another Client.
//
// Concurrent calls get different messages, and each acknowledges what the others
// got before.
func (c *Client) Receive(ctx context.Context) (inbox.Message, error) {
	c.receiver.join()
	defer c.receiver.part(linger)
	return c.receiver.next(ctx)
}

// All receives messages until the loop is left, ctx ends, or receiving fails for
// good. It acknowledges a message when the loop comes round, and not when it is
// left: Acknowledge does that. The message is not handed over again by this
// Client in any case.
//
// Errors come in between, with an empty message, and "continue" is right after
// each: All knows itself which one is the last.
func (c *Client) All(ctx context.Context) iter.Seq2[inbox.Message, error] {
	return func(yield func(inbox.Message, error) bool) {
		c.receiver.join()
		defer c.receiver.part(0)
		for {
			m, err := c.receiver.next(ctx)
			goesOn := err == nil || c.receiver.goesOn() && ctx.Err() == nil
			if !yield(m, err) || !goesOn {
				return
			}
		}
	}
}

// Acknowledge acknowledges every message that was handed over, and returns when
// the server knows. It is for the last message: those before acknowledge
// themselves.
func (c *Client) Acknowledge(ctx context.Context) error {
	return c.receiver.acknowledge(ctx)
}

// Leave ends the connection that a Receive has left open, if nobody receives at
// the moment. The inbox stays, with what is in it, until it expires.
func (c *Client) Leave() { c.receiver.leave() }

// Transport says how messages are received at the moment: "socket", "long poll",
// or "" without contact to the server.
func (c *Client) Transport() string {
	c.receiver.mu.Lock()
	defer c.receiver.mu.Unlock()
	return c.receiver.transport
}

// next hands over what was fetched, and waits for it.
func (r *receiver) next(ctx context.Context) (inbox.Message, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acknowledgeLocked()
	for {
		if err := ctx.Err(); err != nil {
			if r.transport == "" && r.last != nil {
				err = &RetryError{Last: r.last, Ended: err}
			}
			return inbox.Message{}, err
		}
		if len(r.queue) > 0 {
			return r.takeLocked()
		}
		if r.ended != nil {
			return inbox.Message{}, r.ended
		}
		if !r.waitLocked(ctx) {
			err := &RetryError{Last: r.last}
			if r.last == nil {
				err.Last = errors.New("the server did not answer in time")
			}
			r.since = time.Now()
			return inbox.Message{}, err
		}
	}
}

// waitLocked waits for a change, without the lock, and reports false if contact
// to the server is lost for too long.
func (r *receiver) waitLocked(ctx context.Context) bool {
	changed := r.changed
	var givenUp <-chan time.Time
	if r.transport == "" && r.c.retryFor >= 0 {
		left := time.Until(r.since.Add(r.c.retryFor))
		if left <= 0 {
			return false
		}
		timer := time.NewTimer(left)
		defer timer.Stop()
		givenUp = timer.C
	}
	r.waiting++
	r.mu.Unlock()
	select {
	case <-changed:
	case <-givenUp:
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.waiting--
	return true
}

func (r *receiver) takeLocked() (inbox.Message, error) {
	m := r.queue[0]
	r.queue[0] = inbox.Message{}
	r.queue = r.queue[1:]
	r.tellLocked()
	stale := r.stale > 0
	if stale {
		r.stale--
	}
	if m.Cursor == (inbox.Cursor{}) {
		return inbox.Message{}, ErrReset
	}
	r.handed, r.inHand = m.Cursor, true
	if stale {
		r.handed = inbox.Cursor{}
	}
	return m, nil
}

// acknowledgeLocked notes that what was handed over is processed.
func (r *receiver) acknowledgeLocked() {
	if !r.inHand {
		return
	}
	r.inHand = false
	if r.handed != (inbox.Cursor{}) { // else it went with its inbox
		r.acked = r.handed
	}
	r.tellLocked()
}

// acknowledge is acknowledgeLocked, and returns when the server knows.
func (r *receiver) acknowledge(ctx context.Context) error {
	r.mu.Lock()
	r.acknowledgeLocked()
	upTo, known := r.acked, r.acked == r.confirmed
	err := r.ended
	r.mu.Unlock()
	if known {
		return nil
	}
	if err != nil && !errors.Is(err, inbox.ErrReplaced) {
		return err // the inbox is gone, and must not be opened again
	}
	err = r.c.persist(ctx, false, func(ctx context.Context) error { return r.c.acknowledge(ctx, upTo) })
	if err == nil {
		r.confirm(upTo)
	}
	return err
}
