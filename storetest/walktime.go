package storetest

import (
	"errors"
	"time"

	"pgregory.net/rapid"

	"inbox"
)

// margin is how far a step stays away from any expiry, and how long it may take.
func (w *walker) margin() time.Duration { return w.h.past() - w.h.ttl }

// begin returns when a step begins, none earlier than nothing is about to expire.
func (w *walker) begin() time.Time {
	for moved := true; moved; {
		moved = false
		for _, in := range w.model.inboxes {
			if d := time.Until(in.expires); d.Abs() < w.margin() {
				time.Sleep(d + w.margin())
				moved = true
			}
		}
	}
	return time.Now()
}

// end reports whether the step was quick enough to say what it must have done,
// and the store was there.
func (w *walker) end(begin time.Time, err error) bool {
	w.lost = time.Since(begin) > w.margin() || errors.Is(err, inbox.ErrUnavailable)
	return !w.lost
}

// pass lets time pass, in a bubble also to the very moment of an expiry.
func (w *walker) pass(t *rapid.T) {
	ttl := w.h.ttl
	if !w.h.cfg.Bubble {
		if drawSeldom.Draw(t, "at all") {
			time.Sleep(rapid.SampledFrom([]time.Duration{ttl / 10, ttl / 2, ttl}).Draw(t, "time"))
		}
		return
	}
	d := rapid.SampledFrom([]time.Duration{1, ttl / 10, ttl / 10, ttl / 4, ttl / 4, ttl / 2, ttl - 1, ttl, -1, 0}).Draw(t, "time")
	if d <= 0 { // a nanosecond before the next expiry, or the moment itself
		d += w.nextExpiry()
	}
	time.Sleep(d)
}

func (w *walker) nextExpiry() time.Duration {
	next := w.h.ttl
	for _, in := range w.model.inboxes {
		if d := time.Until(in.expires); d > 0 {
			next = min(next, d)
		}
	}
	return next
}
