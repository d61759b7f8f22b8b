package outcome

import (
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"
)

func add(c *Counts, n int, r Report) {
	for range n {
		c.Add(r)
	}
}

func TestSummaryCoversNewCalls(t *testing.T) {
	var c Counts
	s := Summary{Counts: &c}
	next := func(want string, wantCalls int64) {
		t.Helper()
		if got, calls := s.Next(); got != want || calls != wantCalls {
			t.Errorf("got %q for %d calls, want %q for %d", got, calls, want, wantCalls)
		}
	}
	next("", 0)
	add(&c, 92, Report{Result: "connected", Path: "direct"})
	add(&c, 7, Report{Result: "connected", Path: "relay"})
	add(&c, 1, Report{Result: "failed", Cause: "udp-blocked"})
	next("92 % direct, 7 % relay, 1 % failed: udp-blocked", 100)
	next("", 0) // each call is reported once
	add(&c, 1, Report{Result: "failed", Cause: "dns"})
	add(&c, 2, Report{Result: "failed", Cause: "relay-busy"})
	next("100 % failed: relay-busy, dns", 3)
	add(&c, 1000, Report{Result: "connected", Path: "direct"})
	add(&c, 1, Report{Result: "failed"})
	next("over 99 % direct, under 1 % failed: unknown", 1001)
	add(&c, 1, Report{Result: "connected", Path: "carrier-pigeon"})
	add(&c, 1, Report{Result: "went well"})
	next("100 % other: unknown", 2)
}

func TestTimes(t *testing.T) {
	var c Counts
	for _, n := range []int64{0, 100, 101, 30_000, 30_001, 1 << 62} {
		c.Add(Report{Result: "connected", MS: new(n)})
	}
	c.Add(Report{Result: "connected"})
	c.Add(Report{Result: "failed", MS: new(int64(5))})
	n, sum := c.Times()
	if want := [...]int64{2, 1, 0, 0, 0, 0, 0, 0, 1, 2}; n != want {
		t.Errorf("counted %v, want %v", n, want)
	}
	if want := 100*time.Millisecond + 101*time.Millisecond + 30*time.Second + 30001*time.Millisecond + longest; sum != want {
		t.Errorf("a sum of %v, want %v", sum, want)
	}
}

func TestConcurrentCounts(t *testing.T) {
	var c Counts
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { add(&c, 100, Report{Result: "connected", Path: "direct"}) })
	}
	all.Wait()
	total := int64(0)
	c.Calls(func(_, _ string, n int64) { total += n })
	if total != 800 {
		t.Errorf("counted %d calls, want 800", total)
	}
}

// The protocol documents exactly the words of the vocabulary.
func TestProtocolMatchesVocabulary(t *testing.T) {
	content, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vocabulary {
		row := regexp.MustCompile("(?m)^\\| `" + v.field + "` \\|(.*)$").FindSubmatch(content)
		var got []string
		if row != nil {
			for _, word := range regexp.MustCompile("`([a-z0-9-]+)`").FindAllSubmatch(row[1], -1) {
				got = append(got, string(word[1]))
			}
		}
		want := slices.DeleteFunc(slices.Clone(v.words), func(w string) bool { return w == other || w == unknown })
		if !slices.Equal(got, want) {
			t.Errorf("docs/protocol.md has the words %q of %s, want %q", got, v.field, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"result":"connected","ms":7}`, "null", "{}", `{"result":"x","ms":-1}`, `{"result":"x"}1`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Parse(body)
		if err != nil {
			return
		}
		var c Counts
		c.Add(r)
		if line, calls := (&Summary{Counts: &c}).Next(); calls != 1 || line == "" {
			t.Errorf("%q is counted as %q", body, line)
		}
	})
}
