package metrics

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"inbox/internal/meter"
)

const (
	// step is the time between two samples, and kept the number of samples: an hour.
	step = 10 * time.Second
	kept = 360
	// maxSeries bounds the number of series, at 1.5 KB each. A server has half as many.
	maxSeries = 500
)

// history keeps samples of all families for the last hour, for the page.
type history struct {
	families []Family

	mu      sync.Mutex // guards everything below
	samples int        // number taken so far
	series  []*series
	byKey   map[string]*series
}

// A series contains one value over time. For a counter, each point is the increase since
// the previous sample.
type series struct {
	name    string
	labels  []string // alternating names and values
	counter bool
	began   int     // number of its first sample
	seen    int     // number of its last sample
	value   float64 // the latest value
	points  [kept]float32
	before  meter.Distribution // the previous snapshot of a histogram
}

func newHistory(families []Family) *history {
	return &history{families: families, byKey: make(map[string]*series)}
}

// sample takes a sample of all families.
func (h *history) sample() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.samples++
	for i := range h.families {
		if f := &h.families[i]; f.distribution != nil {
			h.noteDistribution(f)
		}
	}
	h.values(func(name string, counter bool, labels []string, value float64) { h.note(name, counter, labels, value) })
	// Drop series that no longer exist, such as those of a replaced certificate, after an
	// hour.
	h.series = slices.DeleteFunc(h.series, func(s *series) bool {
		gone := h.samples-s.seen >= kept
		if gone {
			delete(h.byKey, key(s.name, s.labels))
		}
		return gone
	})
}

// values visits the current values of all families except native histograms.
func (h *history) values(visit func(name string, counter bool, labels []string, value float64)) {
	for i := range h.families {
		f := &h.families[i]
		switch {
		case f.distribution != nil:
		case f.buckets != nil:
			b := f.buckets()
			count := uint64(0)
			for _, n := range b.Counts {
				count += n
			}
			visit(f.Name+"_count", true, nil, float64(count))
			visit(f.Name+"_sum", true, nil, b.Sum)
		default:
			f.read(func(value float64, labels ...string) {
				var pairs []string
				for i, name := range f.Labels {
					pairs = append(pairs, name, labels[i])
				}
				visit(f.Name, f.kind == prometheus.CounterValue, pairs, value)
			})
		}
	}
}

func key(name string, labels []string) string { return name + "\x00" + strings.Join(labels, "\x00") }

// noteDistribution records the median and the 99th percentile of the last step.
func (h *history) noteDistribution(f *Family) {
	d := f.distribution()
	if count := h.note(f.Name+"_count", true, nil, float64(d.Count)); count != nil {
		lately := d.Since(count.before)
		count.before = d
		h.note(f.Name+"_p50", false, nil, lately.Quantile(0.5).Seconds())
		h.note(f.Name+"_p99", false, nil, lately.Quantile(0.99).Seconds())
	}
}

// note records a value for the current sample. It returns nil if there are too many
// series.
func (h *history) note(name string, counter bool, labels []string, value float64) *series {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		value = 0
	}
	s := &series{name: name, labels: labels, counter: counter, began: h.samples, value: value}
	if known := h.byKey[key(name, labels)]; known != nil {
		s = known
	} else {
		if len(h.series) >= maxSeries {
			return nil
		}
		h.byKey[key(name, labels)] = s
		h.series = append(h.series, s)
	}
	for missed := s.seen + 1; s.seen > 0 && missed < h.samples; missed++ {
		s.points[missed%kept] = 0
	}
	point := value
	if counter {
		point = max(0, value-s.value)
	}
	s.value, s.seen = value, h.samples
	s.points[h.samples%kept] = float32(point)
	return s
}

// state is what the page displays.
type state struct {
	Now     int64         `json:"now"`     // Unix time
	Step    float64       `json:"step"`    // seconds between samples
	Samples int           `json:"samples"` // number of the last sample
	Series  []stateSeries `json:"series"`
}

type stateSeries struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Value  float64           `json:"value"`
	Points []float32         `json:"points,omitempty"` // oldest first; omitted if all are 0
}

// state returns the current values, and the samples after the one with the given number,
// at most an hour of them.
func (h *history) state(now time.Time, after int) state {
	h.mu.Lock()
	defer h.mu.Unlock()
	latest := make(map[string]float64)
	h.values(func(name string, _ bool, labels []string, value float64) { latest[key(name, labels)] = value })
	s := state{Now: now.Unix(), Step: step.Seconds(), Samples: h.samples, Series: make([]stateSeries, 0, len(h.series))}
	after = max(after, h.samples-kept, 0)
	for _, from := range h.series {
		out := stateSeries{Name: from.name, Value: from.value}
		if value, ok := latest[key(from.name, from.labels)]; ok {
			out.Value = value
		} else if from.seen < h.samples {
			out.Value = 0
		}
		if len(from.labels) > 0 {
			out.Labels = make(map[string]string)
			for i := 0; i < len(from.labels); i += 2 {
				out.Labels[from.labels[i]] = from.labels[i+1]
			}
		}
		some := false
		for n := after + 1; n <= h.samples; n++ {
			var point float32
			if n >= from.began && n <= from.seen {
				point = from.points[n%kept]
			}
			some = some || point != 0
			out.Points = append(out.Points, point)
		}
		if !some {
			out.Points = nil
		}
		s.Series = append(s.Series, out)
	}
	return s
}
