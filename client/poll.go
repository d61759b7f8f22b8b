package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"inbox"
)

const (
	maxWait      = 25 * time.Second       // how long a poll asks the server to wait; the server may respond earlier
	maxMessages  = 32                     // per response
	minWait      = 250 * time.Millisecond // a long poll that returns nothing sooner than this did not wait
	keepAlive    = 20 * time.Second       // how often the inbox is kept alive while polled messages are processed
	checkWaiters = time.Second            // how often to check for other callers meanwhile
)

// poll makes one request for the messages after those that were processed. The server may
// only hold it open if every message received so far was processed.
func (r *receiver) poll(ctx context.Context, b *backoff) error {
	processed, err := r.untilProcessed(ctx)
	if err != nil {
		return err
	}
	const transport = "long poll"
	r.mu.Lock()
	after := r.acked
	r.forgetLocked(after)
	limit, wait := maxMessages, maxWait
	switch {
	case after == inbox.Cursor{}:
		// Get the position of the inbox first. From then on a reset is reported, even
		// if no message has been processed yet.
		limit, wait = 0, 0
	case !processed || r.transport != transport:
		wait = 0 // first confirm that the server responds
	}
	r.mu.Unlock()
	begin := time.Now()
	got, err := r.c.fetch(ctx, after, limit, wait)
	if errors.Is(err, errLarge) {
		got, err = r.c.fetch(ctx, after, 1, wait)
	}
	if err == nil && got.reset && len(got.messages) > 0 {
		// Only a response without messages has the position where the new life began. The
		// messages are fetched again afterwards.
		got, err = r.c.fetch(ctx, after, 0, 0)
	}
	if err != nil {
		return err
	}
	if err := r.opened(ctx, transport, after, got.at, got.reset); err != nil {
		return err
	}
	news := got.reset
	for _, m := range got.messages {
		news = r.take(ctx, m) || news
	}
	waited := time.Since(begin) >= minWait
	if wait > 0 && !waited && !news {
		return errImmediate
	}
	if waited || news {
		*b = backoff{}
	}
	return nil
}

// pollResult is the parsed response to a poll.
type pollResult struct {
	at       inbox.Cursor // with no messages: the position up to which everything is acknowledged
	reset    bool
	messages []inbox.Message
}

// fetch requests the messages after a cursor. With limit 0 it returns the position only
// and does not replace another receiver.
func (c *Client) fetch(ctx context.Context, after inbox.Cursor, limit int, wait time.Duration) (pollResult, error) {
	a, err := c.do(ctx, request{
		method: http.MethodGet,
		query: "after=" + after.String() + "&limit=" + strconv.Itoa(limit) +
			"&wait=" + strconv.Itoa(int(wait/time.Second)),
		json:    true,
		wait:    wait,
		success: isBatch,
	})
	if err != nil {
		return pollResult{}, err
	}
	if a.status == http.StatusNoContent {
		at, err := inbox.ParseCursor(a.header.Get("Inbox-Cursor"))
		if err != nil {
			return pollResult{}, err
		}
		return pollResult{at: at, reset: a.header.Get("Inbox-Reset") != ""}, nil
	}
	var b batch
	if json.Unmarshal(a.body, &b) != nil || len(b.Messages) == 0 || limit == 0 {
		return pollResult{}, notInbox(a)
	}
	g := pollResult{reset: b.Reset}
	for _, m := range b.Messages {
		decoded, err := m.decode()
		if err != nil {
			return pollResult{}, notInbox(a)
		}
		g.messages = append(g.messages, decoded)
	}
	return g, nil
}

// isMessage reports whether an element of the queue is a message, not a reset.
func isMessage(m inbox.Message) bool { return m.Cursor != inbox.Cursor{} }

// untilProcessed waits until every received message is acknowledged, and keeps the inbox
// alive meanwhile. It returns false early if other callers wait for messages while one is
// still being processed.
func (r *receiver) untilProcessed(ctx context.Context) (bool, error) {
	begin := time.Now()
	ticker := time.NewTicker(checkWaiters)
	defer ticker.Stop()
	for {
		r.mu.Lock()
		upTo, changed, others := r.acked, r.changed, r.waiting > 0
		processed, err := !slices.ContainsFunc(r.queue, isMessage) && !r.inHand, r.ended
		r.mu.Unlock()
		if processed || err != nil {
			return processed, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false, ctx.Err()
		case <-ticker.C:
			if others {
				return false, nil
			}
			if time.Since(begin) >= keepAlive {
				begin = time.Now()
				// If this failed, the next poll reports why.
				if r.c.acknowledge(ctx, upTo) == nil {
					r.confirm(upTo)
				}
			}
		}
	}
}
