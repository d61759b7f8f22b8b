package meter

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestRequestsByStatus(t *testing.T) {
	var m Meter
	for _, status := range []int{200, 200, 404, 599, 418, -1, 1000} {
		m.Request(Stream, status)
	}
	for status, want := range map[int]uint64{200: 2, 404: 1, 500: 4, 204: 0} {
		if got := m.Requests(Stream, status); got != want {
			t.Errorf("%d requests counted with status %d, want %d", got, status, want)
		}
	}
	if got := m.Requests(HTTP, 200); got != 0 {
		t.Errorf("%d requests counted for another transport", got)
	}
	var none *Meter
	none.Request(HTTP, 200) // counts nothing
}

func TestWait(t *testing.T) {
	var m Meter
	var w, none Wait
	w.End()
	w.Begin(&m, LongPoll)
	w.Begin(&m, LongPoll)
	none.Begin(nil, LongPoll)
	none.End()
	if got := m.Receivers(LongPoll); got != 1 {
		t.Errorf("%d receivers wait, want 1", got)
	}
	w.End()
	w.End()
	if got := m.Receivers(LongPoll); got != 0 {
		t.Errorf("%d receivers wait after the end, want 0", got)
	}
}

// The buckets match Prometheus: bucket n covers (2^((n-1)/4), 2^(n/4)].
func TestBuckets(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, 1500 * time.Microsecond, time.Second, 1100 * time.Millisecond, time.Minute, time.Hour} {
		n, s := bucketOf(d), d.Seconds()
		if s <= UpperBound(n-1) || s > UpperBound(n) {
			t.Errorf("%v is in bucket %d, from %g to %g s", d, n, UpperBound(n-1), UpperBound(n))
		}
	}
	for d, want := range map[time.Duration]int{0: lowest, time.Nanosecond: lowest, time.Second: 0, 2 * time.Second: 4, math.MaxInt64: highest} {
		if got := bucketOf(d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	h.Observe(-time.Second)
	before := h.Read()
	var all []time.Duration
	var sum time.Duration
	for range 10_000 {
		d := time.Duration(rand.ExpFloat64() * float64(20*time.Millisecond))
		h.Observe(d)
		all, sum = append(all, d), sum+d
	}
	slices.Sort(all)
	d := h.Read().Since(before)
	if d.Count != 10_000 || d.Sum != sum {
		t.Errorf("counted %d durations of %v in all, want 10,000 of %v", d.Count, d.Sum, sum)
	}
	for _, q := range []float64{0.5, 0.9, 0.99} {
		got, want := d.Quantile(q).Seconds(), all[int(q*10_000)].Seconds()
		if math.Abs(got-want) > want/5 {
			t.Errorf("quantile %g is %g s, want about %g s", q, got, want)
		}
	}
	if got := (Distribution{}).Quantile(0.5); got != 0 {
		t.Errorf("the median of an empty distribution is %v, want 0", got)
	}
	var none *Histogram
	none.Observe(time.Second) // counts nothing
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	for i := range b.N {
		h.Observe(time.Duration(i) * time.Microsecond)
	}
}

func BenchmarkRequest(b *testing.B) {
	var m Meter
	for b.Loop() {
		m.Request(HTTP, 200)
	}
}
