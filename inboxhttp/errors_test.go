package inboxhttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/inboxhttp"
	"inbox/memstore"
)

// Section 7: errors. checkProblem checks every answer of every test for what they have in
// common.

// faultyStore fails with err.
type faultyStore struct {
	inbox.Store
	err error
}

func (f *faultyStore) Send(context.Context, inbox.Peer, string, inbox.Draft) (bool, error) {
	return false, f.err
}

func (f *faultyStore) Look(context.Context, inbox.Peer, inbox.Cursor, int, *inbox.Waker) (inbox.Batch, error) {
	return inbox.Batch{}, f.err
}

func (f *faultyStore) Acknowledge(context.Context, inbox.Peer, inbox.Cursor, *inbox.Waker) (inbox.Batch, error) {
	return inbox.Batch{}, f.err
}

func (f *faultyStore) Leave(context.Context, inbox.Peer, inbox.Cursor, *inbox.Waker) error {
	return f.err
}

func (f *faultyStore) Close(context.Context, inbox.Peer, uint64) (int, error) { return 0, f.err }

// Every row of the table can occur.
//
// The limits of a server and of a body's time are tested over memory only. cmd/inbox
// tests an unreachable store.
func TestEveryError(t *testing.T) {
	open := func(s *server) { s.open("alice", "bob") }
	get := func(query string) func(*server) answer {
		return func(s *server) answer { return s.get("alice", query) }
	}
	post := func(r request, body string) func(*server) answer {
		return func(s *server) answer {
			r.method, r.id, r.body = http.MethodPost, "bob", strings.NewReader(body)
			return s.do(r)
		}
	}
	cases := []struct {
		code   string
		config config
		cause  func(s *server) answer
	}{
		{"bad-request", config{}, get("?wait=soon")},
		{"bad-credentials", config{}, func(s *server) answer { return s.do(request{auth: []string{basic(":")}}) }},
		{"bad-recipient", config{}, post(request{}, "")},
		{"bad-cursor", config{}, get("?after=x")},
		{"bad-key", config{}, post(request{query: "?to=alice", header: http.Header{"Idempotency-Key": {""}}}, "")},
		{"unauthorized", config{}, func(s *server) answer { return s.do(request{}) }},
		{"forbidden-origin", config{Config: origins("https://a.example")}, func(s *server) answer {
			return s.do(request{id: "alice", header: http.Header{"Origin": {"https://b.example"}}})
		}},
		{"forbidden-navigation", config{}, func(s *server) answer {
			return s.do(request{id: "alice", header: http.Header{"Sec-Fetch-Mode": {"navigate"}}})
		}},
		{"no-such-inbox", config{}, post(request{query: "?to=nobody"}, "")},
		{"no-such-code", config{}, func(s *server) answer { return s.redeem("AAAAAA") }},
		{"method-not-allowed", config{}, func(s *server) answer { return s.do(request{method: http.MethodPatch, id: "alice"}) }},
		{"too-slow", config{}, func(s *server) answer {
			return s.do(request{method: http.MethodPost, id: "bob", query: "?to=alice", body: slowly(s, "x")})
		}},
		{"replaced", config{}, func(s *server) answer {
			older := s.wait("alice", "")
			s.wait("alice", "").leave()
			return older.answer()
		}},
		{"closed", config{}, func(s *server) answer {
			waits := s.wait("alice", "")
			s.do(request{method: http.MethodDelete, id: "alice"})
			return waits.answer()
		}},
		{"room-full", config{limits: inbox.Limits{RoomMembers: 1}}, func(s *server) answer {
			s.join("alice", "standup")
			return s.do(request{method: http.MethodPut, id: "bob", query: "?room=standup"})
		}},
		{"too-many-rooms", config{limits: inbox.Limits{Rooms: 1}}, func(s *server) answer {
			s.join("alice", "standup")
			return s.do(request{method: http.MethodPut, id: "alice", query: "?room=lunch"})
		}},
		{"too-large", config{}, post(request{query: "?to=alice"}, strings.Repeat("x", 64<<10+1))},
		{"encoded-body", config{}, post(request{query: "?to=alice", header: http.Header{"Content-Encoding": {"gzip"}}}, "")},
		{"inbox-full", config{limits: inbox.Limits{Messages: 1}}, func(s *server) answer {
			s.send("bob", "alice", "x")
			return s.post("bob", "alice", "x")
		}},
		{"server-full", config{limits: inbox.Limits{Inboxes: 2}}, func(s *server) answer { return s.get("carol", "") }},
		{"store-unavailable", config{open: func(testing.TB, inbox.Limits) inbox.Store {
			return &faultyStore{err: inbox.ErrUnavailable}
		}}, get("")},
		{"draining", config{}, func(s *server) answer { s.drain(); return s.get("alice", "") }},
	}
	inMemory := map[string]bool{"too-slow": true, "server-full": true, "store-unavailable": true}
	caused := map[string]bool{"rate-limited": true} // nothing limits rates here
	for _, c := range cases {
		caused[c.code] = true
		t.Run(c.code, func(t *testing.T) {
			wires := []wire{memory}
			if !inMemory[c.code] {
				wires = append(wires, twoServers)
			}
			overEach(t, wires, c.config, func(s *server) {
				if c.config.open == nil {
					open(s)
				}
				c.cause(s).wantProblem(c.code)
			})
		})
	}
	for code := range statuses {
		if !caused[code] {
			t.Errorf("no case causes %s", code)
		}
	}
}

// slowly returns a body that starts and then blocks until the test ends.
func slowly(s *server, begin string) io.Reader {
	r, w := io.Pipe()
	s.Cleanup(func() { w.Close() })
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(begin), r), r}
}

// An error never quotes an id, a password, a body or anything else that the client sent.
func TestErrorsDoNotEchoInput(t *testing.T) {
	const canary = "c4n4ry"
	long := strings.Repeat(canary, 100)
	overStores(t, config{Config: origins("https://a.example")}, func(s *server) {
		for _, r := range []request{
			{auth: []string{canary}},
			{auth: []string{"Basic " + canary}},
			{auth: []string{basic(canary)}},
			{auth: []string{basic(canary + ":")}},
			{auth: []string{basic(" " + canary + ":" + canary)}},
			{auth: []string{basic(long + ":" + canary)}},
			{auth: []string{basic("a:" + long)}},
			{id: "alice", password: canary},
			{id: "alice", query: "?" + canary + "=%zz"},
			{id: "alice", query: "?wait=" + canary},
			{id: "alice", query: "?limit=" + canary},
			{id: "alice", query: "?after=" + canary},
			{id: "alice", body: strings.NewReader(canary)},
			{id: "alice", method: "C4N4RY"},
			{id: "alice", header: http.Header{"Origin": {"https://" + canary}}},
			{id: "alice", header: http.Header{"Origin": {canary}}},
			{id: canary, method: http.MethodPost, query: "?to=nobody-" + canary},
			{id: canary, method: http.MethodPost, query: "?to=" + canary + "&to=" + canary},
			{id: canary, method: http.MethodPost, query: "?to=%20" + canary, body: strings.NewReader(canary)},
			{id: canary, method: http.MethodPost, query: "?to=alice", header: http.Header{"Idempotency-Key": {canary + " " + canary}}},
			{id: canary, method: http.MethodPost, query: "?to=alice", header: http.Header{"Content-Encoding": {canary}}},
			{id: canary, method: http.MethodPost, query: "?to=alice", body: strings.NewReader(strings.Repeat(canary, 20000))},
		} {
			s.do(request{id: "alice", query: "?limit=0"}).want(http.StatusNoContent)
			a := s.do(r)
			if a.status < 400 {
				s.Errorf("%s %s succeeded", r.method, r.query)
			}
			for name, values := range a.header {
				if strings.Contains(strings.ToLower(name+strings.Join(values, " ")), canary) {
					s.Errorf("%s %s: %d with %s: %s", r.method, r.query, a.status, name, values)
				}
			}
			if strings.Contains(strings.ToLower(a.body), canary) {
				s.Errorf("%s %s: %s", r.method, r.query, a.body)
			}
		}
	})
}

// Details of a store failure go only to the log.
func TestStoreFailures(t *testing.T) {
	for _, err := range []error{inbox.ErrUnavailable, errors.New("dial 10.0.0.7: s3cr3t"), io.ErrUnexpectedEOF, context.DeadlineExceeded} {
		inBubble(t, config{open: func(testing.TB, inbox.Limits) inbox.Store { return &faultyStore{err: err} }}, func(s *server) {
			for _, r := range []request{
				{id: "alice"}, {id: "alice", query: "?wait=0"}, {id: "alice", method: http.MethodDelete}, sending("alice", "bob", "x"),
			} {
				if a := s.do(r).wantProblem("store-unavailable"); strings.Contains(a.body, "s3cr3t") {
					t.Errorf("the answer reveals an internal error: %s", a.body)
				}
			}
		})
	}
}

// When the store fails, every request fails, but the log gets one line a second.
func TestStoreFailuresInTheLog(t *testing.T) {
	var log bytes.Buffer
	inBubble(t, config{
		Config: inboxhttp.Config{Log: slog.New(slog.NewTextHandler(&log, nil))},
		open:   func(testing.TB, inbox.Limits) inbox.Store { return &faultyStore{err: inbox.ErrUnavailable} },
	}, func(s *server) {
		for range 3 {
			for range 50 {
				s.poll("alice").wantProblem("store-unavailable")
			}
			time.Sleep(time.Second)
		}
	})
	if n := strings.Count(log.String(), "store failed"); n != 3 {
		t.Errorf("%d lines in 3 s:\n%s", n, log.String())
	}
}

// If a popped message cannot be removed, the client still gets it and may get it again.
func TestStoreFailsAfterDelivery(t *testing.T) {
	inBubble(t, config{open: func(_ testing.TB, l inbox.Limits) inbox.Store {
		return &failsToRemove{Store: memstore.New(l)}
	}}, func(s *server) {
		fails := &s.store.Store.(*failsToRemove).fails
		fails.Store(true)
		s.open("alice")
		s.send("bob", "alice", "hello")
		s.poll("alice").wantMessage("bob", "hello")
		synctest.Wait() // until the removal was tried
		fails.Store(false)
		s.poll("alice").wantMessage("bob", "hello")
		s.poll("alice").want(http.StatusNoContent)
	})
}

type failsToRemove struct {
	inbox.Store
	fails atomic.Bool
}

func (f *failsToRemove) Take(context.Context, inbox.Peer, inbox.Batch, *inbox.Waker) func(bool) {
	return nil
}

func (f *failsToRemove) Acknowledge(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) (inbox.Batch, error) {
	if f.fails.Load() && upTo != (inbox.Cursor{}) {
		return inbox.Batch{}, inbox.ErrUnavailable
	}
	return f.Store.Acknowledge(ctx, p, upTo, w)
}

// Section 2.1: any other method is 405 method-not-allowed with Allow.
func TestMethods(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		for _, method := range []string{
			http.MethodHead, http.MethodPatch, http.MethodTrace, "LIST", "get", "G", "PROPFIND", "QUERY",
		} {
			a := s.do(request{method: method, id: "alice", query: "?wait=0"})
			a.want(http.StatusMethodNotAllowed).wantHeader("Allow", "GET, POST, PUT, DELETE, OPTIONS")
		}
		a := s.do(request{method: http.MethodOptions}) // an OPTIONS without the headers of a preflight
		a.want(http.StatusNoContent, "").wantHeader("Allow", "GET, POST, PUT, DELETE, OPTIONS")
		s.poll("alice").wantMessage("bob", "precious")
	})
}
