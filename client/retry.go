package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"inbox"
)

// Backoff doubles from firstWait to longestWait. Half of each wait is random.
const (
	firstWait   = 200 * time.Millisecond
	longestWait = 8 * time.Second

	arrival = time.Second // longest wait between tries while the recipient has no inbox yet

	// A rate-limited client waits at least limited, even if the server names no time (a
	// close code cannot). Longer Retry-After values than longestRetryAfter are capped.
	limited           = time.Second
	longestRetryAfter = 5 * time.Minute
)

type backoff struct{ wait time.Duration }

// next returns how long to wait after err. It is never shorter than the server's
// Retry-After.
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

// persist calls f until it succeeds, fails for good, or time runs out. With absent set, a
// missing recipient inbox is retried for Config.Wait.
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
		c.log.Debug("retrying", "in", wait, "after", err)
		if !sleep(ctx, wait) {
			return ended(ctx, last)
		}
	}
}

// ended returns the error for a context that is done, wrapping the last failure.
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

// sleep reports whether d passed before ctx ended.
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
