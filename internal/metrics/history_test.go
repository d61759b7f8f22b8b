package metrics

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"inbox/internal/meter"
)

func find(t *testing.T, s state, name string) stateSeries {
	t.Helper()
	i := slices.IndexFunc(s.Series, func(s stateSeries) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no series %s", name)
	}
	return s.Series[i]
}

// A counter shows the increase in each step, a gauge its value. Both show the latest
// value, which may be newer than the last sample.
func TestHistoryOfGaugesAndCounters(t *testing.T) {
	gauge, counter := 0.0, 100.0
	h := newHistory([]Family{
		Gauge("gauge", "", func() float64 { return gauge }),
		Counter("counter_total", "", func() float64 { return counter }),
	})
	for i := range 4 {
		h.sample()
		gauge, counter = gauge+1, counter+float64(10*i)
	}
	s := h.state(time.Unix(1030, 0), 0)
	if s.Samples != 4 || s.Now != 1030 || s.Step != 10 {
		t.Errorf("the state has sample %d at %d, every %g s", s.Samples, s.Now, s.Step)
	}
	if got := find(t, s, "gauge"); got.Value != 4 || !slices.Equal(got.Points, []float32{0, 1, 2, 3}) {
		t.Errorf("the gauge is %+v", got)
	}
	if got := find(t, s, "counter_total"); got.Value != 160 || !slices.Equal(got.Points, []float32{0, 0, 10, 20}) {
		t.Errorf("the counter is %+v", got)
	}
	if got := find(t, h.state(time.Unix(1030, 0), 3), "gauge"); !slices.Equal(got.Points, []float32{3}) {
		t.Errorf("after sample 3 the gauge has %v", got.Points)
	}
	for _, after := range []int{4, 5, 1 << 40} {
		if got := find(t, h.state(time.Unix(1030, 0), after), "gauge"); len(got.Points) != 0 {
			t.Errorf("after sample %d the gauge has %v", after, got.Points)
		}
	}
	if got := find(t, h.state(time.Unix(1030, 0), -7), "gauge"); len(got.Points) != 4 {
		t.Errorf("after sample -7 the gauge has %v", got.Points)
	}
}

// The history covers at most an hour and a bounded number of series. A series that has
// been gone for an hour makes room.
func TestHistoryIsBounded(t *testing.T) {
	n, tick := 0, 0
	h := newHistory([]Family{
		Counter("tick_total", "", func() float64 { return float64(tick) }),
		Gauges("gauge", "", []string{"number"}, func(emit func(float64, ...string)) {
			for i := range n {
				emit(1, fmt.Sprint(i))
			}
		}),
	})
	n = 10 * maxSeries
	h.sample()
	if got := len(h.series); got != maxSeries {
		t.Errorf("%d series are kept, want %d", got, maxSeries)
	}
	n = 1
	for range kept + 10 {
		tick++
		h.sample()
	}
	s := h.state(time.Unix(1030, 0), 0)
	if got := len(s.Series); got != 2 {
		t.Errorf("%d series are kept after an hour, want 2", got)
	}
	points := find(t, s, "tick_total").Points
	if len(points) != kept || slices.Max(points) != 1 || slices.Min(points) != 1 {
		t.Errorf("the series has %d points from %g to %g, want %d, all 1", len(points), slices.Min(points), slices.Max(points), kept)
	}
}

// A series counts as 0 while it does not exist.
func TestSeriesThatReappears(t *testing.T) {
	there := true
	h := newHistory([]Family{Gauges("gauge", "", nil, func(emit func(float64, ...string)) {
		if there {
			emit(7)
		}
	})})
	for i := range 6 {
		there = i < 2 || i > 4
		h.sample()
		if got := find(t, h.state(time.Unix(1030, 0), 0), "gauge"); there != (got.Value == 7) {
			t.Errorf("sample %d has the value %g", i, got.Value)
		}
	}
	if got := find(t, h.state(time.Unix(1030, 0), 0), "gauge").Points; !slices.Equal(got, []float32{7, 7, 0, 0, 0, 7}) {
		t.Errorf("the points are %v", got)
	}
}

// Quantiles cover a single step.
func TestHistoryOfDurations(t *testing.T) {
	var m meter.Histogram
	h := newHistory([]Family{Histogram("delivery_seconds", "", &m)})
	h.sample()
	for range 100 {
		m.Observe(time.Second)
	}
	h.sample()
	m.Observe(time.Minute)
	h.sample()
	h.sample()
	s := h.state(time.Unix(1030, 0), 0)
	if got := find(t, s, "delivery_seconds_count").Points; !slices.Equal(got, []float32{0, 100, 1, 0}) {
		t.Errorf("the counts are %v", got)
	}
	p := find(t, s, "delivery_seconds_p50").Points
	if p[0] != 0 || p[1] < 0.8 || p[1] > 1.2 || p[2] < 50 || p[2] > 70 || p[3] != 0 {
		t.Errorf("the medians are %v, want about 0, 1, 60 and 0", p)
	}
}

// A native histogram also has classic buckets, and both agree.
func TestHistogramForPrometheus(t *testing.T) {
	var h meter.Histogram
	for _, d := range []time.Duration{time.Millisecond, time.Second, time.Second, 5 * time.Second, 24 * time.Hour} {
		h.Observe(d)
	}
	s := New(Config{Families: []Family{Histogram("inbox_delivery_seconds", "Help.", &h)}, Version: "1"})
	all, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(f *dto.MetricFamily) bool { return f.GetName() == "inbox_delivery_seconds" })
	got := all[i].Metric[0].Histogram
	if got.GetSampleCount() != 5 || got.GetSchema() != meter.Schema || len(got.PositiveSpan) == 0 {
		t.Errorf("the native histogram is %v", got)
	}
	want := map[float64]uint64{0.0009765625: 0, 0.00390625: 1, 0.25: 1, 1: 3, 4: 3, 16: 4, 1024: 4}
	for _, b := range got.Bucket {
		if n, ok := want[b.GetUpperBound()]; ok && n != b.GetCumulativeCount() {
			t.Errorf("%d durations are at most %g s, want %d", b.GetCumulativeCount(), b.GetUpperBound(), n)
		}
		delete(want, b.GetUpperBound())
	}
	if len(want) > 0 {
		t.Errorf("buckets are missing: %v", want)
	}
}

func TestClassicHistogram(t *testing.T) {
	s := New(Config{Version: "1", Families: []Family{Classic("inbox_ice_connect_seconds", "Help.", func() Buckets {
		return Buckets{Bounds: []float64{1, 2}, Counts: []uint64{3, 4, 5}, Sum: 42}
	})}})
	w := httptest.NewRecorder()
	s.Handler(&net.TCPAddr{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{`_bucket{le="1"} 3`, `_bucket{le="2"} 7`, `_bucket{le="+Inf"} 12`, `_sum 42`, `_count 12`} {
		if !strings.Contains(w.Body.String(), "inbox_ice_connect_seconds"+line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

// The page loads only its own files.
func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	s := New(Config{Version: "1"})
	handler := s.Handler(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	for _, path := range []string{"/", "/page.js", "/chart.js", "/page.css", "/state", "/metrics"} {
		r := httptest.NewRequest("GET", path, nil)
		r.Host = "127.0.0.1:9600"
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != 200 || !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %d with the policy %q", path, w.Code, policy)
		}
		body := strings.ReplaceAll(w.Body.String(), "http://www.w3.org/2000/svg", "")
		if strings.Contains(body, "http://") || strings.Contains(body, "https://") || strings.Contains(body, "innerHTML") {
			t.Errorf("%s refers to another address, or parses HTML", path)
		}
		if path == "/state" {
			var got struct {
				Version string
				Samples *int
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Version != "1" || got.Samples == nil {
				t.Errorf("the state is %s", w.Body)
			}
		}
	}
}
