// Package metrics shows operators what the server does: at /metrics for Prometheus, and
// on a page for people at /. Both read the same families, and only on request, apart from
// the samples that the page's charts need.
package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"inbox/internal/meter"
)

// A Family is one metric with all its labels. Its values are read at each scrape, so its
// functions must be fast and must not block.
type Family struct {
	Name   string // by Prometheus's conventions: snake case, unit last, _total for counters
	Help   string // one sentence
	Labels []string

	kind         prometheus.ValueType
	read         func(emit func(value float64, labels ...string))
	distribution func() meter.Distribution // of a native histogram; otherwise nil
	buckets      func() Buckets            // of a classic histogram; otherwise nil
}

// Buckets is a classic histogram.
type Buckets struct {
	Bounds []float64 // upper bounds, in seconds
	Counts []uint64  // one per bound, and one for values above the last
	Sum    float64   // in seconds
}

// Gauge returns a metric that goes up and down.
func Gauge(name, help string, read func() float64) Family {
	return Family{Name: name, Help: help, kind: prometheus.GaugeValue, read: single(read)}
}

// Counter returns a metric that only grows.
func Counter(name, help string, read func() float64) Family {
	return Family{Name: name, Help: help, kind: prometheus.CounterValue, read: single(read)}
}

// Gauges returns a gauge with labels. read calls emit for each combination of their
// values.
func Gauges(name, help string, labels []string, read func(emit func(value float64, labels ...string))) Family {
	return Family{Name: name, Help: help, Labels: labels, kind: prometheus.GaugeValue, read: read}
}

// Counters is like Gauges, for values that only grow.
func Counters(name, help string, labels []string, read func(emit func(value float64, labels ...string))) Family {
	return Family{Name: name, Help: help, Labels: labels, kind: prometheus.CounterValue, read: read}
}

// Histogram returns a metric of durations: a native histogram that also has classic
// buckets, for scrapers without support for native ones.
func Histogram(name, help string, h *meter.Histogram) Family {
	return Family{Name: name, Help: help, distribution: h.Read}
}

// Classic returns a metric of durations with fixed buckets.
func Classic(name, help string, read func() Buckets) Family {
	return Family{Name: name, Help: help, buckets: read}
}

func single(read func() float64) func(func(float64, ...string)) {
	return func(emit func(float64, ...string)) { emit(read()) }
}

// collector adapts a Family to client_golang.
type collector struct {
	Family
	desc *prometheus.Desc
}

func newCollector(f Family) collector {
	return collector{f, prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)}
}

// Describe implements [prometheus.Collector].
func (c collector) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect implements [prometheus.Collector].
func (c collector) Collect(to chan<- prometheus.Metric) {
	switch {
	case c.distribution != nil:
		to <- native(c.desc, c.distribution())
	case c.buckets != nil:
		b := c.buckets()
		cumulative, count := make(map[float64]uint64, len(b.Bounds)), uint64(0)
		for i, n := range b.Counts {
			count += n
			if i < len(b.Bounds) {
				cumulative[b.Bounds[i]] = count
			}
		}
		to <- prometheus.MustNewConstHistogram(c.desc, count, b.Sum, cumulative)
	default:
		c.read(func(value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(c.desc, c.kind, value, labels...)
		})
	}
}

// classicBounds are the classic buckets of a native histogram, as numbers of its buckets:
// from 1 ms to 17 minutes, each four times the previous one.
var classicBounds = func() (all []int) {
	for exponent := -10; exponent <= 10; exponent += 2 {
		all = append(all, exponent<<meter.Schema)
	}
	return all
}()

// nativeHistogram adds classic buckets to a native histogram.
type nativeHistogram struct {
	prometheus.Metric
	d meter.Distribution
}

func native(desc *prometheus.Desc, d meter.Distribution) prometheus.Metric {
	m, err := prometheus.NewConstNativeHistogram(desc, d.Count, d.Sum.Seconds(), d.Buckets, nil, 0, meter.Schema, 0, time.Time{})
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return nativeHistogram{m, d}
}

// Write implements [prometheus.Metric].
func (h nativeHistogram) Write(to *dto.Metric) error {
	if err := h.Metric.Write(to); err != nil {
		return err
	}
	numbers := make([]int, 0, len(h.d.Buckets))
	for n := range h.d.Buckets {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	below, next := uint64(0), 0
	for _, bound := range classicBounds {
		for next < len(numbers) && numbers[next] <= bound {
			below += uint64(h.d.Buckets[numbers[next]])
			next++
		}
		upper, count := meter.UpperBound(bound), below
		to.Histogram.Bucket = append(to.Histogram.Bucket, &dto.Bucket{UpperBound: &upper, CumulativeCount: &count})
	}
	return nil
}
