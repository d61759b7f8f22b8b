package meter

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// The buckets of a Histogram are those of a native histogram of Prometheus with this
// schema: four for each power of two, so a quantile is at most 9 % away from the truth.
const (
	Schema = 2

	lowest  = -56 // up to 2^-14 s, 61 µs: all that is faster counts here
	highest = 68  // beyond 2^16.75 s, a day and a quarter: all that is slower counts here
)

// bounds are the upper bounds of a power of two's buckets, as math.Frexp gives them.
var bounds = [1 << Schema]float64{0.5, 0.5946035575013605, 0.7071067811865475, 0.8408964152537144}

// A Histogram counts durations. The zero Histogram is ready to use; a nil one counts
// nothing. It takes about 1 KB, whatever is counted.
type Histogram struct {
	buckets [highest - lowest + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

// Observe counts a duration. A negative one, of a clock that was set back, counts as 0.
func (h *Histogram) Observe(d time.Duration) {
	if h == nil {
		return
	}
	d = max(d, 0)
	h.buckets[bucketOf(d)-lowest].Add(1)
	h.sum.Add(int64(d))
}

// bucketOf returns the number of a bucket: bucket n ends at 2^(n/4) seconds and
// includes its end.
func bucketOf(d time.Duration) int {
	if d == 0 {
		return lowest
	}
	fraction, exponent := math.Frexp(d.Seconds())
	i, _ := slices.BinarySearch(bounds[:], fraction)
	return min(max(i+(exponent-1)<<Schema, lowest), highest)
}

// UpperBound returns where a bucket ends, in seconds.
func UpperBound(bucket int) float64 { return math.Exp2(float64(bucket) / (1 << Schema)) }

// A Distribution is what a Histogram has counted so far.
type Distribution struct {
	Buckets map[int]int64 // by the bucket's number; those with nothing are absent
	Count   uint64
	Sum     time.Duration
}

// Read returns what was counted so far. Durations that are counted meanwhile may be in
// a bucket and not yet in the sum.
func (h *Histogram) Read() Distribution {
	d := Distribution{Buckets: make(map[int]int64)}
	for i := range h.buckets {
		if n := h.buckets[i].Load(); n > 0 {
			d.Buckets[i+lowest] = int64(n)
			d.Count += n
		}
	}
	d.Sum = time.Duration(h.sum.Load())
	return d
}

// Since returns what was counted after an earlier Read.
func (d Distribution) Since(before Distribution) Distribution {
	later := Distribution{Buckets: make(map[int]int64), Count: d.Count - before.Count, Sum: d.Sum - before.Sum}
	for bucket, n := range d.Buckets {
		if n -= before.Buckets[bucket]; n > 0 {
			later.Buckets[bucket] = n
		}
	}
	return later
}

// Quantile returns the duration that a part q of all stays below, or 0 if there is none.
func (d Distribution) Quantile(q float64) time.Duration {
	rank, seen := q*float64(d.Count), int64(0)
	for bucket := lowest; bucket <= highest; bucket++ {
		n := d.Buckets[bucket]
		if n == 0 {
			continue
		}
		if float64(seen+n) >= rank {
			// Between the bucket's bounds, as far as the rank is between its counts.
			part := max(0, rank-float64(seen)) / float64(n)
			return time.Duration(math.Exp2((float64(bucket-1)+part)/(1<<Schema)) * float64(time.Second))
		}
		seen += n
	}
	return 0
}
