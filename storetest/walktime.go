package storetest

import (
	"errors"
	"time"

	"pgregory.net/rapid"

	"inbox"
)

// margin is the minimum distance of a step from any expiry, and its maximum duration.
func (w *walker) margin() time.Duration { return w.h.past() - w.h.ttl }

// begin waits until no expiry is near and returns the time.
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

// end reports whether the result of a step counts: the step was fast enough to rule out
// an expiry during it, and the store was available.
func (w *walker) end(begin time.Time, err error) bool {
	w.lost = time.Since(begin) > w.margin() || errors.Is(err, inbox.ErrUnavailable)
	return !w.lost
}

// pass lets time pass. In a bubble it may stop exactly at an expiry.
func (w *walker) pass(t *rapid.T) {
	ttl := w.h.ttl
	if !w.h.cfg.Bubble {
		if drawRarely.Draw(t, "at all") {
			time.Sleep(rapid.SampledFrom([]time.Duration{ttl / 10, ttl / 2, ttl}).Draw(t, "time"))
		}
		return
	}
	d := rapid.SampledFrom([]time.Duration{1, ttl / 10, ttl / 10, ttl / 4, ttl / 4, ttl / 2, ttl - 1, ttl, -1, 0}).Draw(t, "time")
	if d <= 0 { // a nanosecond before the next expiry, or exactly at it
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
