package main

import (
	"cmp"
	"slices"
	"time"
)

// span is a time during which a client waited for a response.
type span struct{ from, to time.Time }

func (s span) took() time.Duration { return s.to.Sub(s.from) }

// worthNoting is the shortest wait that is recorded.
const worthNoting = time.Millisecond

// pauses summarizes the waits of one phase.
type pauses struct {
	longest time.Duration // whatever the cause
	own     time.Duration // longest, excluding time during which the witness waited too
	slow    int           // waits of more than 5 ms of own time
}

// blame subtracts from each wait the time during which the witness waited too. The
// witness is another server on the same core under the same load: when both wait at the
// same time, the machine is the cause.
func blame(waits, witness []span) (p pauses) {
	witness = union(witness)
	for _, w := range waits {
		p.longest = max(p.longest, w.took())
		own := w.took()
		for _, v := range witness {
			own -= max(0, span{later(w.from, v.from), earlier(w.to, v.to)}.took())
		}
		p.own = max(p.own, own)
		if own > 5*time.Millisecond {
			p.slow++
		}
	}
	return p
}

// union merges overlapping spans.
func union(all []span) []span {
	all = slices.SortedFunc(slices.Values(all), func(a, b span) int { return a.from.Compare(b.from) })
	var merged []span
	for _, s := range all {
		if n := len(merged); n > 0 && !s.from.After(merged[n-1].to) {
			merged[n-1].to = later(merged[n-1].to, s.to)
		} else {
			merged = append(merged, s)
		}
	}
	return merged
}

func longestOf(all []span) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.MaxFunc(all, func(a, b span) int { return cmp.Compare(a.took(), b.took()) }).took()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
