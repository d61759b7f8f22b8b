package inboxhttp_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Section 11: a draining server answers 503 draining with a Retry-After.

// Waiting polls end immediately, take nothing and get different values of Retry-After.
func TestDrainEndsWaits(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		var waits []*pending
		for i := range 100 {
			id := "peer-" + strings.Repeat("i", i+1)
			waits = append(waits, s.wait(id, []string{"", "?after=0"}[i%2]))
		}
		s.turnClock(3 * time.Second)
		begin := time.Now()
		s.drain()
		seconds := make(map[string]int)
		for _, p := range waits {
			a := p.answer().want(http.StatusServiceUnavailable).wantProblem("draining")
			seconds[a.header.Get("Retry-After")]++
		}
		s.wantElapsed(begin, 0)
		if len(seconds) < 2 {
			s.Errorf("all polls have the same Retry-After: %v", seconds)
		}
	})
}

// Every new poll is refused.
func TestDrainRefusesPolls(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		s.drain()
		s.drain() // a second call changes nothing
		if !s.handler.Draining() {
			s.Fatal("not draining")
		}
		for _, query := range []string{"", "?wait=0", "?wait=25", "?after=0", "?after=0&wait=0", "?limit=5"} {
			s.get("alice", query).wantProblem("draining")
			s.getJSON("alice", query).wantProblem("draining")
		}
		// Faulty requests still get their own errors.
		s.do(request{}).wantProblem("unauthorized")
		s.get("alice", "?wait=x").wantProblem("bad-request")
	})
}

// Acknowledgements, sends and DELETE still work.
func TestDrainAllowsEverythingElse(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one", "two")
		got := s.get("alice", "?after=0").wantMessage("bob", "one")
		s.drain()
		s.send("bob", "alice", "three")
		s.get("alice", "?limit=0&after="+got.cursor()).want(http.StatusNoContent)
		if a := s.do(keyed("bob", "alice", "k", "four")).want(http.StatusOK); a.header.Get("Idempotency-Replayed") != "" {
			s.Error("a first send is reported as replayed")
		}
		if inboxes := s.held("alice"); inboxes != 3 {
			s.Errorf("%d messages are left, want 3", inboxes)
		}
		s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
	})
}

// held returns how many messages an inbox contains, even while the server drains.
func (s *server) held(id string) int {
	s.Helper()
	b, err := s.store.Look(s.Context(), s.peer(id), start0, 1000, nil)
	if err != nil {
		s.Fatal(err)
	}
	return len(b.Messages)
}

// A drained inbox lives for a whole TTL from then on, so that its owner can reconnect in
// time.
func TestDrainKeepsInboxes(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		waits := s.wait("alice", "")
		time.Sleep(20 * time.Second)
		s.handler.Drain()
		waits.answer().wantProblem("draining")
		wantLife(s, "alice", time.Minute)
	})
}

// A send whose body is still arriving finishes during a shutdown.
func TestShutdownWaitsForSends(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.open("alice")
		waits := s.wait("alice", "")
		r := sending("bob", "alice", "")
		r.body = &pausing{strings.NewReader("sent slowly"), 5 * time.Second}
		sends := s.start(r)
		synctest.Wait()
		s.handler.Drain()
		done := make(chan error)
		go func() { done <- s.http.Shutdown(context.Background()) }()
		waits.answer().wantProblem("draining")
		sends.answer().want(http.StatusOK)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if held := s.held("alice"); held != 1 {
			t.Errorf("%d messages, want 1", held)
		}
	})
}
