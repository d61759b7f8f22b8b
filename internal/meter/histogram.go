package meter

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// The buckets of a Histogram are those of a Prometheus native histogram with this schema:
// four per power of two, so quantiles are off by at most 9 %.
const (
	Schema = 2

	lowest  = -56 // ends at 2^-14 s, 61 µs; counts everything faster
	highest = 68  // begins at 2^16.75 s, a day and a quarter; counts everything slower
)

// bounds are the upper bounds of the buckets of one power of two, as fractions of
// math.Frexp.
var bounds = [1 << Schema]float64{0.5, 0.5946035575013605, 0.7071067811865475, 0.8408964152537144}

// A Histogram counts durations. The zero Histogram is ready to use, and a nil Histogram
// counts nothing. It takes about 1 KB, however much it counts.
type Histogram struct {
	buckets [highest - lowest + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

// Observe counts a duration. A negative one, from a clock that was set back, counts as 0.
func (h *Histogram) Observe(d time.Duration) {
	if h == nil {
		return
	}
	d = max(d, 0)
	h.buckets[bucketOf(d)-lowest].Add(1)
	h.sum.Add(int64(d))
}

// bucketOf returns the bucket of a duration. Bucket n ends at 2^(n/4) seconds,
// inclusively.
func bucketOf(d time.Duration) int {
	if d == 0 {
		return lowest
	}
	fraction, exponent := math.Frexp(d.Seconds())
	i, _ := slices.BinarySearch(bounds[:], fraction)
	return min(max(i+(exponent-1)<<Schema, lowest), highest)
}

// UpperBound returns the end of a bucket, in seconds.
func UpperBound(bucket int) float64 { return math.Exp2(float64(bucket) / (1 << Schema)) }

// A Distribution is a snapshot of a Histogram.
type Distribution struct {
	Buckets map[int]int64 // by number; empty buckets are absent
	Count   uint64
	Sum     time.Duration
}

// Read returns a snapshot. Durations observed concurrently may be in the buckets but not
// yet in the sum.
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

// Since returns what was counted after an earlier snapshot.
func (d Distribution) Since(before Distribution) Distribution {
	later := Distribution{Buckets: make(map[int]int64), Count: d.Count - before.Count, Sum: d.Sum - before.Sum}
	for bucket, n := range d.Buckets {
		if n -= before.Buckets[bucket]; n > 0 {
			later.Buckets[bucket] = n
		}
	}
	return later
}

// Quantile returns an estimate of the q-quantile, or 0 if nothing was counted.
func (d Distribution) Quantile(q float64) time.Duration {
	rank, seen := q*float64(d.Count), int64(0)
	for bucket := lowest; bucket <= highest; bucket++ {
		n := d.Buckets[bucket]
		if n == 0 {
			continue
		}
		if float64(seen+n) >= rank {
			// Interpolate between the bounds of the bucket.
			part := max(0, rank-float64(seen)) / float64(n)
			return time.Duration(math.Exp2((float64(bucket-1)+part)/(1<<Schema)) * float64(time.Second))
		}
		seen += n
	}
	return 0
}
