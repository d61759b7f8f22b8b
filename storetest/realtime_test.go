package storetest

import (
	"testing"
	"time"

	"inbox"
	"inbox/memstore"
)

// A case that runs too slowly is repeated. A case that fails for another reason is not.
func TestOnlySlowCasesAreRepeated(t *testing.T) {
	const ttl = 200 * time.Millisecond
	cfg := Config{TTL: ttl, Open: func(_ T, l inbox.Limits) []inbox.Store { return []inbox.Store{memstore.New(l)} }}
	for _, c := range []struct {
		name     string
		run      func(h *harness)
		fails    bool
		attempts int // minimum if it does not fail
	}{
		{"too slow", func(h *harness) {
			h.open("alice")
			time.Sleep(ttl * 3 / 2)
			h.wantAlive("alice", true)
		}, false, 2},
		{"too slow as a sender", func(h *harness) {
			h.open("alice")
			time.Sleep(ttl * 3 / 2)
			_, err := h.trySend(stranger("alice"), "nobody", "", "")
			h.want(err, inbox.ErrUnauthorized)
		}, false, 2},
		{"too slow after a wait", func(h *harness) {
			h.open("alice")
			h.until(time.Now(), h.past())
			h.open("alice")
			time.Sleep(ttl * 3 / 2)
			h.wantAlive("alice", true)
		}, false, 2},
		{"failing", func(h *harness) {
			h.open("alice")
			h.Fatalf("failed")
		}, true, 1},
		{"failing after a wait for expiry", func(h *harness) {
			h.open("alice")
			h.until(time.Now(), h.past())
			h.wantAlive("alice", true)
		}, true, 1},
		{"failing with an inbox that only sends", func(h *harness) {
			h.open("bob")
			for range 3 {
				h.send("alice", "bob", "hello")
				h.until(time.Now(), h.past())
				h.open("bob")
			}
			h.wantAlive("carol", true)
		}, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ran := 0
			failure := inRealTime(t, cfg, testCase{timed: true, run: func(h *harness) { ran++; c.run(h) }})
			if (failure != "") != c.fails || c.fails && ran != 1 || ran < c.attempts {
				t.Errorf("after %d attempts: %q", ran, failure)
			}
		})
	}
}

// Nothing expires in a case that does not wait for expiry.
func TestNothingExpiresInUntimedCases(t *testing.T) {
	t.Parallel()
	cfg := Config{TTL: time.Millisecond, Open: func(_ T, l inbox.Limits) []inbox.Store { return []inbox.Store{memstore.New(l)} }}
	failure := inRealTime(t, cfg, testCase{run: func(h *harness) {
		h.open("alice")
		time.Sleep(20 * time.Millisecond) // longer than the TTL of timed cases
		h.wantAlive("alice", true)
	}})
	if failure != "" {
		t.Error(failure)
	}
}
