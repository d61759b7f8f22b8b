package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one figure.
type row struct {
	Group    string  `json:"group"`
	What     string  `json:"what"`
	Measured float64 `json:"measured"`
	Unit     string  `json:"unit"`
	// Goal is the maximum of Measured or, with OfRatio, of Ratio.
	Goal    *float64 `json:"goal,omitempty"`
	OfRatio bool     `json:"goal_of_ratio,omitempty"`
	// Against names the baseline, which has the same unit. Ratio is the median over the
	// rounds, so it may differ from Measured / Baseline.
	Against  string  `json:"against,omitempty"`
	Baseline float64 `json:"baseline,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"`
	Note     string  `json:"note,omitempty"`
	Met      *bool   `json:"met,omitempty"`
	// Must means that missing the goal is a fault, not just slow.
	Must bool `json:"must,omitempty"`
}

type report struct {
	rows  []row
	notes []string
}

func (r *report) add(w row) {
	if w.Goal != nil {
		value := w.Measured
		if w.OfRatio {
			value = w.Ratio
		}
		met := value <= *w.Goal
		w.Met = &met
	}
	r.rows = append(r.rows, w)
}

// count adds a number of events that must not happen.
func (r *report) count(group, what string, n int, of string) {
	r.add(row{Group: group, What: what, Measured: float64(n), Goal: new(0.0), Must: true, Note: of})
}

func (r *report) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(r.notes, n) {
		r.notes = append(r.notes, n)
	}
}

// verdict returns an error if something was lost, duplicated or broken. Missing another
// goal is not an error: that is for people to judge.
func (r *report) verdict() error {
	for _, w := range r.rows {
		if w.Must && !*w.Met {
			return errors.New("the server violated a guarantee: see the rows marked FAULT")
		}
	}
	return nil
}

// print writes the table. The note of each figure follows below it.
func (r *report) print(out io.Writer) {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for i, w := range r.rows {
		if i == 0 || w.Group != r.rows[i-1].Group {
			fmt.Fprintf(t, "%s\tgoal\tmeasured\t\tcompared with\t\tratio\n", w.Group)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			w.What, w.goal(), quantity(w.Measured, w.Unit), w.mark(), w.Against, w.baseline(), w.ratio())
	}
	t.Flush()
	lines := strings.Split(table.String(), "\n")
	for i, w := range r.rows {
		if i == 0 || w.Group != r.rows[i-1].Group {
			fmt.Fprintf(out, "\n%s\n", strings.TrimRight(lines[0], " "))
			lines = lines[1:]
		}
		fmt.Fprintln(out, strings.TrimRight(lines[0], " "))
		lines = lines[1:]
		if w.Note != "" {
			fmt.Fprintf(out, "      %s\n", w.Note)
		}
	}
	for _, n := range r.notes {
		fmt.Fprintf(out, "\n%s\n", n)
	}
}

func (w row) goal() string {
	switch {
	case w.Goal == nil:
		return ""
	case *w.Goal == 0:
		return "none"
	case w.OfRatio:
		return "≤ " + plain(*w.Goal) + " ×"
	default:
		return "≤ " + quantity(*w.Goal, w.Unit)
	}
}

func (w row) baseline() string {
	if w.Against == "" {
		return ""
	}
	return quantity(w.Baseline, w.Unit)
}

func (w row) ratio() string {
	if w.Ratio == 0 {
		return ""
	}
	return strconv.FormatFloat(w.Ratio, 'f', 2, 64) + " ×"
}

func (w row) mark() string {
	switch {
	case w.Met == nil:
		return ""
	case *w.Met:
		return "ok"
	case w.Must:
		return "FAULT"
	default:
		return "over"
	}
}

// quantity formats a figure with three significant digits.
func quantity(v float64, unit string) string {
	if unit == "" {
		return plain(v)
	}
	return plain(v) + " " + unit
}

func plain(v float64) string {
	decimals := 0
	if v != math.Trunc(v) && math.Abs(v) < 100 {
		decimals = 2
		if math.Abs(v) >= 10 {
			decimals = 1
		}
	}
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if decimals > 0 {
		return s
	}
	start := 0
	if v < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func (r *report) save(path string, cores []int) error {
	data, err := json.MarshalIndent(struct {
		When  time.Time `json:"when"`
		Go    string    `json:"go"`
		Cores int       `json:"cores"`
		Rows  []row     `json:"rows"`
		Notes []string  `json:"notes,omitempty"`
	}{time.Now().UTC(), runtime.Version(), len(cores), r.rows, r.notes}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// median returns the median of v, which must not be empty.
func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// micros returns the microseconds per operation.
func micros(d time.Duration, n int) float64 { return d.Seconds() * 1e6 / float64(max(n, 1)) }

func plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	if strings.HasSuffix(of, "x") {
		of += "e"
	}
	return plain(float64(n)) + " " + of + "s"
}
