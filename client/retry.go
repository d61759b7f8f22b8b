package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"inbox"
)

// The wait before the first retry and the longest one: each is twice the one
// before, and half of it is drawn by lot.
const (
	firstWait   = 200 * time.Millisecond
	longestWait = 8 * time.Second

	arrival = time.Second // the longest for a recipient that may come

	// A client that is limited waits at least limited, also if nobody says for how long: the
	// close code of a socket does not. A server that wants it to wait for longer than
	// longestRetryAfter is asked after that time.
	limited           = time.Second
	longestRetryAfter = 5 * time.Minute
)

type backoff struct{ wait time.Duration }

// next is how long to wait after err, and at least what the server asked for.
func (b *backoff) next(err error) time.Duration {
	b.wait = min(max(firstWait, 2*b.wait), longestWait)
	d := b.wait/2 + rand.N(b.wait/2)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return d
	}
	asked := min(e.RetryAfter, longestRetryAfter)
	if asked == 0 && e.Status == http.StatusTooManyRequests {
		asked = limited
	}
	return max(d, asked+rand.N(asked/4+1))
}

// persist calls f until it succeeds or fails for good, or there is no time left.
// With absent, a recipient without an inbox may still get one.
func (c *Client) persist(ctx context.Context, absent bool, f func(context.Context) error) error {
	var b backoff
	var last error
	for start := time.Now(); ; {
		err := f(ctx)
		if err == nil {
			return nil
		}
		e, answered := errors.AsType[*Error](err)
		if !answered && ctx.Err() != nil {
			return ended(ctx, last)
		}
		last = err
		most, wait := c.retryFor, b.next(err)
		switch {
		case absent && c.wait != 0 && errors.Is(err, inbox.ErrNoInbox):
			most, wait = c.wait, min(wait, arrival)
		case !temporary(err):
			return err
		}
		if most >= 0 {
			left := most - time.Since(start)
			if left <= 0 || answered && e.RetryAfter > left {
				return &RetryError{Last: err}
			}
			wait = min(wait, left)
		}
		c.log.Debug("trying again", "in", wait, "after", err)
		if !sleep(ctx, wait) {
			return ended(ctx, last)
		}
	}
}

// ended is the error of a context that is over, with the last failure before.
func ended(ctx context.Context, last error) error {
	err := ctx.Err()
	if errors.Is(context.Cause(ctx), inbox.ErrClosed) {
		return inbox.ErrClosed
	}
	if last == nil {
		return err
	}
	return &RetryError{Last: last, Ended: err}
}

// sleep reports whether ctx lasted as long.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
