package inboxhttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
)

// Section 3: a send that repeats an Idempotency-Key, with the same sender, recipient and
// body, enqueues nothing and is answered with Idempotency-Replayed: true.

func keyed(from, to, key, body string) request {
	r := sending(from, to, body)
	r.header = http.Header{"Idempotency-Key": {key}}
	return r
}

// sendKey sends with a key and reports whether the answer says that it was replayed.
func (s *server) sendKey(from, to, key, body string) (replayed bool) {
	s.Helper()
	a := s.do(keyed(from, to, key, body)).want(http.StatusOK, "")
	if got := a.header.Get("Idempotency-Replayed"); got != "" && got != "true" {
		s.Fatalf("Idempotency-Replayed: %s", got)
	}
	return a.header.Get("Idempotency-Replayed") == "true"
}

// wantReplayed fails the test unless the send is replayed or not, as wanted.
func (s *server) wantReplayed(want bool, from, to, key, body string) {
	s.Helper()
	if got := s.sendKey(from, to, key, body); got != want {
		s.Fatalf("%s sends %q to %s with key %.20s: replayed is %v, want %v", from, body, to, key, got, want)
	}
}

func TestRepeatedSend(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice", "bob")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
		s.wantReplayed(true, "bob", "alice", "k", "offer")

		// Another body, sender, recipient or key makes another message.
		s.wantReplayed(false, "bob", "alice", "k", "answer")
		s.wantReplayed(false, "carol", "alice", "k", "offer")
		s.wantReplayed(false, "bob", "bob", "k", "offer")
		s.wantReplayed(false, "bob", "alice", "K", "offer")
		s.wantReplayed(false, "bob", "alice", "k", "")
		s.getJSON("alice", "?after=0").wantBodies("offer", "answer", "offer", "offer", "")
		s.getJSON("bob", "?after=0").wantBodies("offer")

		// Sends without a key are never replays.
		s.send("bob", "alice", "offer", "offer")
		s.getJSON("alice", "?after=0").wantBodies("offer", "answer", "offer", "offer", "", "offer", "offer")
	})
}

// A replay enqueues nothing even after the message was acknowledged.
func TestRepeatedSendAfterItsMessageLeft(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
		s.poll("alice").wantMessage("bob", "offer")
		s.wantReplayed(true, "bob", "alice", "k", "offer")
		s.poll("alice").want(http.StatusNoContent)
	})
}

// A replay succeeds even if the inbox is full, because its message was accepted.
func TestRepeatedSendToAFullInbox(t *testing.T) {
	overStores(t, config{limits: inbox.Limits{Messages: 2}}, func(s *server) {
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k1", "one")
		s.wantReplayed(false, "bob", "alice", "k2", "two")
		s.do(keyed("bob", "alice", "k3", "three")).wantProblem("inbox-full")
		s.wantReplayed(true, "bob", "alice", "k1", "one")
		s.poll("alice").wantMessage("bob", "one")
		s.wantReplayed(false, "bob", "alice", "k3", "three") // the refused send did not use the key
		s.getJSON("alice", "?after=0").wantBodies("two", "three")
	})
}

// Section 3: an inbox remembers its last 1,024 keys.
func TestKeysRemembered(t *testing.T) {
	// storetest covers Redis too; here it would take a request per key.
	inBubble(t, config{limits: inbox.Limits{Messages: 3000}}, func(s *server) {
		s.open("alice")
		key := func(i int) string { return fmt.Sprintf("key-%d", i) }
		for i := range inbox.KeysRemembered {
			s.wantReplayed(false, "bob", "alice", key(i), "")
		}
		for i := 0; i < inbox.KeysRemembered; i += 31 {
			s.wantReplayed(true, "bob", "alice", key(i), "")
		}
		s.wantReplayed(false, "bob", "alice", "one-more", "")
		s.wantReplayed(true, "bob", "alice", key(1), "")
		s.wantReplayed(false, "bob", "alice", key(0), "") // evicted, although it was replayed
	})
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
		for range 5 {
			s.turnClock(59 * time.Second)
			s.open("alice")
			s.wantReplayed(true, "bob", "alice", "k", "offer")
		}
		s.expire() // the next life has no keys
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")

		s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
	})
}

// A refused send leaves its key unused.
func TestRefusedSendIsNotRemembered(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.do(keyed("bob", "alice", "k", "offer")).wantProblem("no-such-inbox")
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
		s.poll("alice").wantMessage("bob", "offer")
	})
}

// Section 3: a key has 1 to 64 visible ASCII characters.
func TestKeys(t *testing.T) {
	var visible strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		visible.WriteString(string(c))
	}
	cases := map[string]struct {
		keys []string
		ok   bool
	}{
		"one character":       {[]string{"k"}, true},
		"64 characters":       {[]string{strings.Repeat("k", 64)}, true},
		"64 visible":          {[]string{visible.String()[:64]}, true},
		"the other visible":   {[]string{visible.String()[64:]}, true},
		"quoted":              {[]string{`"8e03978e-40d5-43e8-bc93-6894a57f9324"`}, true},
		"empty":               {[]string{""}, false},
		"only white space":    {[]string{"  "}, false},
		"65 characters":       {[]string{strings.Repeat("k", 65)}, false},
		"a space inside":      {[]string{"a b"}, false},
		"a tab inside":        {[]string{"a\tb"}, false},
		"not ASCII":           {[]string{"é"}, false},
		"not UTF-8":           {[]string{"\xff"}, false},
		"twice":               {[]string{"a", "b"}, false},
		"twice the same":      {[]string{"a", "a"}, false},
		"the second is empty": {[]string{"a", ""}, false},
	}
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		for name, c := range cases {
			r := sending("bob", "alice", name)
			r.header = http.Header{"Idempotency-Key": c.keys}
			a, got := s.do(r), s.poll("alice")
			switch {
			case c.ok && (a.status != http.StatusOK || got.body != name):
				s.Errorf("%s: %d %s, and then %d %q", name, a.status, a.body, got.status, got.body)
			case !c.ok && (a.code != "bad-key" || got.status != http.StatusNoContent):
				s.Errorf("%s: %d %s, and then %d", name, a.status, a.body, got.status)
			}
		}
	})
}
