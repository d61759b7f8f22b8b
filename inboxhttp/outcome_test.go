package inboxhttp_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/inboxhttp"
	"inbox/internal/outcome"
)

// Section 12.2: how calls went.

func counting() (inboxhttp.Config, *outcome.Counts) {
	c := new(outcome.Counts)
	return inboxhttp.Config{Outcomes: c}, c
}

// counted returns all nonzero counts by their words.
func counted(c *outcome.Counts) map[string]int64 {
	all := make(map[string]int64)
	add := func(name string, n int64) {
		if n > 0 {
			all[name] = n
		}
	}
	c.Calls(func(result, path string, n int64) { add(result+" "+path, n) })
	for _, field := range []string{outcome.Transport, outcome.Family, outcome.Cause} {
		c.Words(field, func(word string, n int64) { add(field+" "+word, n) })
	}
	return all
}

func wantCounts(t testing.TB, c *outcome.Counts, want map[string]int64) {
	t.Helper()
	if got := counted(c); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

func report(id, body string) request {
	return request{method: http.MethodPost, path: "/outcome", id: id, body: strings.NewReader(body)}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		body string
		want map[string]int64
	}{
		{`{"result":"connected","path":"relay","transport":"tls","family":"ipv6","ms":731}`,
			map[string]int64{"connected relay": 1, "transport tls": 1, "family ipv6": 1}},
		{`{"result":"failed","cause":"udp-blocked","ms":30000}`, map[string]int64{"failed unknown": 1, "cause udp-blocked": 1}},
		// A word of a later version, and an invented one.
		{`{"result":"connected","path":"carrier-pigeon","transport":"quic","family":"ipv8"}`,
			map[string]int64{"connected other": 1, "transport other": 1, "family other": 1}},
		{`{"result":"alice called bob","cause":"10.0.0.7"}`, map[string]int64{"other unknown": 1, "cause other": 1}},
		// Fields of a later version.
		{` {"result":"connected","path":"direct","codec":"av1","ms":0} `,
			map[string]int64{"connected direct": 1, "transport unknown": 1, "family unknown": 1}},
		{`{"result":"connected","path":"direct","ms":9223372036854775807}`,
			map[string]int64{"connected direct": 1, "transport unknown": 1, "family unknown": 1}},
	} {
		with, counts := counting()
		inBubble(t, config{Config: with}, func(s *server) {
			s.do(report("alice", c.body)).want(http.StatusNoContent)
			wantCounts(s, counts, c.want)
		})
	}
}

func TestOutcomeRefuses(t *testing.T) {
	with, counts := counting()
	overStores(t, config{Config: with}, func(s *server) {
		before := counted(counts)
		s.open("alice")
		for _, body := range []string{
			"", "null", "{}", "[]", "7", `"connected"`, `{"result":7}`, `{"result":null}`, `{"result":""}`, `{"result":"failed"`, `{"result":"failed"}}`,
			`{"result":"failed"} {"result":"failed"}`, `{"result":"failed","ms":"7"}`, `{"result":"failed","ms":7.5}`, `{"result":"failed","ms":-1}`,
			`{"result":"failed","ms":1e99}`, `{"result":["failed"]}`, "\xff", "result=failed", strings.Repeat("[", 1000),
		} {
			s.do(report("alice", body)).wantProblem("bad-request")
		}
		s.do(report("alice", `{"result":"failed","x":"`+strings.Repeat("x", 1<<10)+`"}`)).wantProblem("too-large")
		r := report("alice", "")
		r.body = struct{ *strings.Reader }{strings.NewReader(strings.Repeat(" ", 2<<10))} // without a Content-Length
		s.do(r).wantProblem("too-large")
		r = report("alice", `{"result":"failed"}`)
		r.header = http.Header{"Content-Encoding": {"gzip"}}
		s.do(r).wantProblem("encoded-body")
		r = report("alice", `{"result":"failed"}`)
		r.password = "wrong"
		s.do(r).wantProblem("unauthorized")
		s.do(report("", `{"result":"failed"}`)).wantProblem("unauthorized")
		for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodHead} {
			s.do(request{method: method, path: "/outcome", id: "alice"}).want(http.StatusMethodNotAllowed).wantHeader("Allow", "POST, OPTIONS")
		}
		wantCounts(s, counts, before)
		// None of them counted as this minute's report.
		s.do(report("alice", `{"result":"failed"}`)).want(http.StatusNoContent)
	})
}

// An inbox may report once a minute. Others are not affected.
func TestOutcomeOnceAMinute(t *testing.T) {
	with, counts := counting()
	inBubble(t, config{Config: with}, func(s *server) {
		for range 3 {
			s.do(report("alice", `{"result":"connected","path":"direct"}`)).want(http.StatusNoContent)
			a := s.do(report("alice", `{"result":"connected","path":"direct"}`)).wantProblem("rate-limited")
			a.wantHeader("Retry-After", "60")
			time.Sleep(20 * time.Second)
			s.do(report("alice", `{"result":"failed"}`)).wantProblem("rate-limited").wantHeader("Retry-After", "40")
			s.do(report("carol", `{"result":"failed"}`))
			time.Sleep(40 * time.Second)
		}
		wantCounts(s, counts, map[string]int64{
			"connected direct": 3, "transport unknown": 3, "family unknown": 3, "failed unknown": 3, "cause unknown": 3,
		})
	})
}

// Inventing ids does not get around the limit of an address.
func TestOutcomesOfOneAddress(t *testing.T) {
	with, counts := counting()
	inBubble(t, config{Config: with}, func(s *server) {
		for i := range 1000 {
			s.do(report(fmt.Sprint("id ", i), `{"result":"failed"}`)).want(http.StatusNoContent)
		}
		s.do(report("alice", `{"result":"failed"}`)).wantProblem("rate-limited").wantHeader("Retry-After", "1")
		time.Sleep(time.Second)
		s.do(report("bob", `{"result":"failed"}`)).want(http.StatusNoContent)
		s.do(report("carol", `{"result":"failed"}`)).wantProblem("rate-limited")
		wantCounts(s, counts, map[string]int64{"failed unknown": 1001, "cause unknown": 1001})
	})
}

// A page can report while it closes, after it has closed its inbox.
func TestOutcomeOpensNoInbox(t *testing.T) {
	with, _ := counting()
	overStores(t, config{Config: with}, func(s *server) {
		s.open("alice")
		s.do(request{method: http.MethodDelete, id: "alice"})
		s.do(report("alice", `{"result":"failed"}`)).want(http.StatusNoContent)
		if s.alive("alice") {
			s.Error("the inbox was opened")
		}
	})
}

// A server that does not count outcomes accepts them all the same.
func TestOutcomesOff(t *testing.T) {
	inBubble(t, config{open: func(testing.TB, inbox.Limits) inbox.Store { return &faultyStore{err: inbox.ErrUnavailable} }}, func(s *server) {
		for range 3 {
			s.do(report("alice", `{"result":"failed"}`)).want(http.StatusNoContent)
		}
		s.do(report("alice", `7`)).wantProblem("bad-request")
	})
}

func TestOutcomeInBrowsers(t *testing.T) {
	with, _ := counting()
	overStores(t, config{Config: with}, func(s *server) {
		p := page{s: s, origin: "https://app.example"}
		if a, readable := p.fetch(report("alice", `{"result":"failed"}`), "authorization"); !readable || a.status != http.StatusNoContent {
			s.Errorf("answered %d, readable: %v", a.status, readable)
		}
		beacon := report("alice", `{"result":"failed"}`)
		beacon.header = http.Header{"Sec-Fetch-Mode": {"no-cors"}}
		s.do(beacon).wantProblem("forbidden-navigation")
	})
}
