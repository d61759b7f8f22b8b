// Package outcome counts the outcomes of calls as clients report them: how many
// connected, over which kind of path, and why the others failed. It stores only words of
// a fixed vocabulary and numbers, never anything that identifies a peer or an address.
package outcome

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Fields of a report whose values are words.
const (
	Result    = "result"
	Path      = "path"
	Transport = "transport"
	Family    = "family"
	Cause     = "cause"
)

// Words for a field that is missing, and for a value outside the vocabulary.
const (
	unknown = "unknown"
	other   = "other"
)

// vocabulary lists each field with its words. docs/protocol.md explains them, and a test
// compares the two.
var vocabulary = []struct {
	field string
	words []string
}{
	{Result, []string{"connected", "failed", other}},
	{Path, []string{"direct", "relay", other, unknown}},
	{Transport, []string{"udp", "tcp", "tls", other, unknown}},
	{Family, []string{"ipv4", "ipv6", other, unknown}},
	{Cause, []string{
		"udp-blocked", "relay-unreachable", "relay-refused", "relay-busy", "relay-failed", "no-relay",
		"peer-no-relay", "dns", "no-candidates", "no-webrtc", other, unknown,
	}},
}

// A Report is a client's report of one call.
type Report struct {
	Result    string `json:"result"`
	Path      string `json:"path"`
	Transport string `json:"transport"`
	Family    string `json:"family"`
	Cause     string `json:"cause"`
	MS        *int64 `json:"ms"` // milliseconds from the other side's answer to the result; nil if not reported
}

// Parse parses a report. It accepts any word in every field; Add counts unknown words as
// "other".
func Parse(body []byte) (Report, error) {
	var r *Report
	d := json.NewDecoder(strings.NewReader(string(body)))
	if err := d.Decode(&r); err != nil {
		return Report{}, errors.New("the outcome is not a JSON object of strings and an integer ms")
	}
	if _, err := d.Token(); err != io.EOF {
		return Report{}, errors.New("the outcome has data after its JSON object")
	}
	switch {
	case r == nil:
		return Report{}, errors.New("the outcome is null")
	case r.Result == "":
		return Report{}, errors.New("the outcome has no result")
	case r.MS != nil && *r.MS < 0:
		return Report{}, errors.New("the ms of the outcome is negative")
	}
	return *r, nil
}

// Bounds are the upper bounds of the buckets for the time to connect. One more bucket
// counts longer times.
var Bounds = [...]time.Duration{
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second,
	5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second,
}

// Counts is the sum of all reports since the server started. The zero value is ready to
// use, and it is safe for concurrent use.
type Counts struct {
	results    [3][4]atomic.Int64 // by result and path, in the order of the vocabulary
	transports [5]atomic.Int64    // of connected calls
	families   [4]atomic.Int64    // of connected calls
	causes     [12]atomic.Int64   // of other calls
	times      [len(Bounds) + 1]atomic.Int64
	total      atomic.Int64 // sum of the times, in milliseconds
}

// longest caps the time of a single report, so that made-up reports cannot overflow the
// sum.
const longest = 10 * time.Minute

// Add counts a report.
func (c *Counts) Add(r Report) {
	result := index(0, r.Result)
	c.results[result][index(1, r.Path)].Add(1)
	if result != 0 {
		c.causes[index(4, r.Cause)].Add(1)
		return
	}
	c.transports[index(2, r.Transport)].Add(1)
	c.families[index(3, r.Family)].Add(1)
	if r.MS != nil {
		ms := min(*r.MS, longest.Milliseconds())
		at, _ := slices.BinarySearch(Bounds[:], time.Duration(ms)*time.Millisecond)
		c.times[at].Add(1)
		c.total.Add(ms)
	}
}

// index returns the index of a word in the vocabulary of a field.
func index(field int, word string) int {
	words := vocabulary[field].words
	if word == "" {
		return slices.Index(words, unknown) // Parse rejects a missing result, which has no such word
	}
	if i := slices.Index(words, word); i >= 0 {
		return i
	}
	return slices.Index(words, other)
}

// Calls yields the number of calls for each result and kind of path.
func (c *Counts) Calls(yield func(result, path string, n int64)) {
	for i := range c.results {
		for j := range c.results[i] {
			yield(vocabulary[0].words[i], vocabulary[1].words[j], c.results[i][j].Load())
		}
	}
}

// Words yields the count of each word of Transport, Family or Cause.
func (c *Counts) Words(field string, yield func(word string, n int64)) {
	counts := map[string][]atomic.Int64{Transport: c.transports[:], Family: c.families[:], Cause: c.causes[:]}[field]
	at := slices.IndexFunc(vocabulary, func(v struct {
		field string
		words []string
	}) bool {
		return v.field == field
	})
	for i := range counts {
		yield(vocabulary[at].words[i], counts[i].Load())
	}
}

// Times returns the number of calls that connected within each of Bounds but not the
// previous one, the number that took longer, and the sum of all times.
func (c *Counts) Times() (n [len(Bounds) + 1]int64, sum time.Duration) {
	for i := range n {
		n[i] = c.times[i].Load()
	}
	return n, time.Duration(c.total.Load()) * time.Millisecond
}

// A Summary describes the reports since the previous summary in one line. It is not safe
// for concurrent use.
type Summary struct {
	Counts *Counts
	last   map[string]int64
}

// Next returns the line, such as "92 % direct, 7 % relay, 1 % failed: udp-blocked", and
// the number of calls that it covers.
func (s *Summary) Next() (line string, calls int64) {
	now, part := make(map[string]int64), make(map[string]int64)
	s.Counts.Calls(func(result, path string, n int64) {
		switch {
		case result == "failed":
			now["failed"] += n
		case result == "connected" && (path == "direct" || path == "relay"):
			now[path] += n
		default:
			now[other] += n
		}
	})
	s.Counts.Words(Cause, func(word string, n int64) { now[Cause+" "+word] = n })
	for name, n := range now {
		part[name] = n - s.last[name]
	}
	s.last = now
	outcomes := []string{"direct", "relay", other, "failed"}
	for _, name := range outcomes {
		calls += part[name]
	}
	var said []string
	for _, name := range outcomes {
		if part[name] > 0 {
			said = append(said, percent(part[name], calls)+" "+name)
		}
	}
	line = strings.Join(said, ", ")
	if causes := causesOf(part); causes != "" {
		line += ": " + causes
	}
	return line, calls
}

// percent rounds to a whole percentage, but never to 0 or 100 unless that is exact.
func percent(n, of int64) string {
	switch p := (n*100 + of/2) / of; {
	case p == 0:
		return "under 1 %"
	case p == 100 && n < of:
		return "over 99 %"
	default:
		return fmt.Sprintf("%d %%", p)
	}
}

// causesOf lists the causes of failures, most frequent first.
func causesOf(part map[string]int64) string {
	var words []string
	for name, n := range part {
		if word, ok := strings.CutPrefix(name, Cause+" "); ok && n > 0 {
			words = append(words, word)
		}
	}
	slices.SortFunc(words, func(a, b string) int {
		if d := part[Cause+" "+b] - part[Cause+" "+a]; d != 0 {
			return int(d)
		}
		return strings.Compare(a, b)
	})
	return strings.Join(words, ", ")
}
