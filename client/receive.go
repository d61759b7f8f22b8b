package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"inbox"
)

// linger is how long the connection stays open after a Receive, so that the next one
// finds it.
const linger = time.Minute

// Receive returns the oldest message that this Client has not returned yet, and waits
// until there is one. The next call to Receive acknowledges it. A message whose caller
// never gets that far stays in the inbox for the next Client.
//
// Concurrent calls return different messages. Each call acknowledges every message that
// was returned before it. If the server stays unreachable for [Config.RetryFor], Receive
// returns a [*RetryError] and can be called again.
func (c *Client) Receive(ctx context.Context) (inbox.Message, error) {
	c.receiver.join()
	defer c.receiver.part(linger)
	return c.receiver.next(ctx)
}

// All returns an iterator over received messages. It ends when the loop breaks, when ctx
// ends, or when receiving fails for good. Each new iteration acknowledges the message of
// the one before. Breaking out of the loop does not acknowledge the last message: call
// Acknowledge for that. Either way this Client does not return the message again.
//
// Errors are yielded with a zero message. The loop may always "continue" after one: All
// ends by itself after the last.
func (c *Client) All(ctx context.Context) iter.Seq2[inbox.Message, error] {
	return func(yield func(inbox.Message, error) bool) {
		c.receiver.join()
		defer c.receiver.part(0)
		for {
			m, err := c.receiver.next(ctx)
			more := err == nil || c.receiver.live() && ctx.Err() == nil
			if !yield(m, err) || !more {
				return
			}
		}
	}
}

// Acknowledge acknowledges every message that was returned so far, and blocks until the
// server has confirmed it. Only the last message needs this, since receiving acknowledges
// the ones before.
func (c *Client) Acknowledge(ctx context.Context) error {
	return c.receiver.acknowledge(ctx)
}

// Leave closes the connection that Receive keeps open. It does nothing while a call
// receives. The inbox and its messages stay until the inbox expires.
func (c *Client) Leave() { c.receiver.leave() }

// Transport returns how the client currently receives: "socket", "long poll", or "" while
// it is not connected.
func (c *Client) Transport() string {
	c.receiver.mu.Lock()
	defer c.receiver.mu.Unlock()
	return c.receiver.transport
}

// next returns the next message from the queue, and waits for one if the queue is empty.
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
				err.Last = errors.New("the server did not respond in time")
			}
			r.since = time.Now()
			return inbox.Message{}, err
		}
	}
}

// waitLocked releases the lock and waits for a change. It returns false if the server has
// been unreachable for too long.
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
	r.notifyLocked()
	stale := r.stale > 0
	if stale {
		r.stale--
	}
	if m.Cursor == (inbox.Cursor{}) {
		r.acknowledgeEventsLocked()
		return inbox.Message{}, ErrReset
	}
	r.handed, r.inHand = m.Cursor, true
	if stale {
		r.handed = inbox.Cursor{}
	}
	return m, nil
}

// acknowledgeLocked marks the message that was returned last as processed.
func (r *receiver) acknowledgeLocked() {
	if !r.inHand {
		return
	}
	r.inHand = false
	if r.handed != (inbox.Cursor{}) { // otherwise the message belongs to an earlier life
		r.acked = r.handed
	}
	r.acknowledgeEventsLocked()
	r.notifyLocked()
}

// acknowledge does the same as acknowledgeLocked, and waits for the server to confirm it.
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
		return err // the inbox is gone, and a request would reopen it
	}
	err = r.c.persist(ctx, false, func(ctx context.Context) error { return r.c.acknowledge(ctx, upTo) })
	if err == nil {
		r.confirm(upTo)
	}
	return err
}
