package inboxhttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
)

// PROTOCOL, section 3: "With an Idempotency-Key, a repeated send (same sender,
// recipient, key and body) enqueues nothing and answers 200 with
// Idempotency-Replayed: true."

func keyed(from, to, key, body string) request {
	r := sending(from, to, body)
	r.header = http.Header{"Idempotency-Key": {key}}
	return r
}

// sendKey sends with a key and reports whether the answer says that it repeats.
func (s *server) sendKey(from, to, key, body string) (replayed bool) {
	s.Helper()
	a := s.do(keyed(from, to, key, body)).want(http.StatusOK, "")
	if got := a.header.Get("Idempotency-Replayed"); got != "" && got != "true" {
		s.Fatalf("Idempotency-Replayed: %s", got)
	}
	return a.header.Get("Idempotency-Replayed") == "true"
}

// wantReplayed holds the answer of a send against what it should say.
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

		// "The same key with another body is another message." So is the same
		// of another sender, and to another recipient, and with another key.
		s.wantReplayed(false, "bob", "alice", "k", "answer")
		s.wantReplayed(false, "carol", "alice", "k", "offer")
		s.wantReplayed(false, "bob", "bob", "k", "offer")
		s.wantReplayed(false, "bob", "alice", "K", "offer")
		s.wantReplayed(false, "bob", "alice", "k", "")
		s.getJSON("alice", "?after=0").wantBodies("offer", "answer", "offer", "offer", "")
		s.getJSON("bob", "?after=0").wantBodies("offer")

		// Without a key nothing is the same.
		s.send("bob", "alice", "offer", "offer")
		s.getJSON("alice", "?after=0").wantBodies("offer", "answer", "offer", "offer", "", "offer", "offer")
	})
}

// A message that was acknowledged long ago does not come again either.
func TestRepeatedSendAfterItsMessageLeft(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
		s.poll("alice").wantMessage("bob", "offer")
		s.wantReplayed(true, "bob", "alice", "k", "offer")
		s.poll("alice").want(http.StatusNoContent)
	})
}

// A repeated send is answered although the inbox is full by now, because its
// message is in it.
func TestRepeatedSendToAFullInbox(t *testing.T) {
	overStores(t, config{limits: inbox.Limits{Messages: 2}}, func(s *server) {
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k1", "one")
		s.wantReplayed(false, "bob", "alice", "k2", "two")
		s.do(keyed("bob", "alice", "k3", "three")).wantProblem("inbox-full")
		s.wantReplayed(true, "bob", "alice", "k1", "one")
		s.poll("alice").wantMessage("bob", "one")
		s.wantReplayed(false, "bob", "alice", "k3", "three") // the refused send left no trace
		s.getJSON("alice", "?after=0").wantBodies("two", "three")
	})
}

// "The last 1,024 keys of an inbox are remembered for as long as the inbox
// lives."
func TestKeysRemembered(t *testing.T) {
	// In Redis too, as storetest shows; with a request for each it takes long.
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
		s.wantReplayed(false, "bob", "alice", key(0), "") // made room
	})
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
		for range 5 {
			s.turnClock(59 * time.Second)
			s.open("alice")
			s.wantReplayed(true, "bob", "alice", "k", "offer")
		}
		s.expire() // its next life
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")

		s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
	})
}

// A send that was refused is no send: its repetition is not one.
func TestRefusedSendIsNotRemembered(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.do(keyed("bob", "alice", "k", "offer")).wantProblem("no-such-inbox")
		s.open("alice")
		s.wantReplayed(false, "bob", "alice", "k", "offer")
		s.poll("alice").wantMessage("bob", "offer")
	})
}

// "Idempotency-Key: <1 to 64 visible ASCII characters>"
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
		"every visible":       {[]string{visible.String()[:64]}, true},
		"and the rest of it":  {[]string{visible.String()[64:]}, true},
		"quoted":              {[]string{`"8e03978e-40d5-43e8-bc93-6894a57f9324"`}, true},
		"empty":               {[]string{""}, false},
		"only white space":    {[]string{"  "}, false},
		"65 characters":       {[]string{strings.Repeat("k", 65)}, false},
		"a space in it":       {[]string{"a b"}, false},
		"a tab in it":         {[]string{"a\tb"}, false},
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
