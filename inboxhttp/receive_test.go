package inboxhttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
)

// PROTOCOL, section 4: receiving. Its forms, cursors, expiry and the one receiver have
// files of their own; what holds for every transport is in delivery_test.go.

// "Pop (no after) is the concept's own mode: the oldest message is returned and
// removed."
func TestPop(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one", "two", "three")
		s.get("alice", "").wantMessage("bob", "one").wantHeader("Inbox-Reset", "")
		s.poll("alice").wantMessage("bob", "two")
		s.get("alice", "?").wantMessage("bob", "three")
		s.poll("alice").want(http.StatusNoContent)
	})
}

// "Acknowledged (after=…) can be repeated at will: the same request returns the
// same messages." "Messages that are returned stay until they are acknowledged."
func TestAcknowledged(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one", "two", "three")
		first := s.get("alice", "?after=0").wantMessage("bob", "one")
		for range 3 {
			again := s.get("alice", "?after=0").wantMessage("bob", "one")
			if again.cursor() != first.cursor() {
				s.Fatal("the same message has another cursor")
			}
		}
		second := s.get("alice", "?after="+first.cursor()).wantMessage("bob", "two")
		s.get("alice", "?after="+first.cursor()).wantMessage("bob", "two")
		s.get("alice", "?after=0").wantMessage("bob", "two") // "0 acknowledges nothing"

		third := s.get("alice", "?after="+second.cursor()).wantMessage("bob", "three")
		s.get("alice", "?wait=0&after="+third.cursor()).want(http.StatusNoContent)
		s.get("alice", "?wait=0&after="+third.cursor()).want(http.StatusNoContent)
		s.get("alice", "?wait=0&after="+first.cursor()).want(http.StatusNoContent) // long gone, and harmless
	})
}

// "after: acknowledges every message up to and including this cursor."
func TestAcknowledgeSeveral(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "1", "2", "3", "4", "5")
		messages := s.getJSON("alice", "?after=0").wantBodies("1", "2", "3", "4", "5").batch().Messages
		s.getJSON("alice", "?after="+messages[2].Cursor).wantBodies("4", "5")
		s.getJSON("alice", "?after="+messages[1].Cursor).wantBodies("4", "5")
		s.getJSON("alice", "?wait=0&after="+messages[4].Cursor).wantBodies()
	})
}

// "wait: how long to wait for a message, 0 to max-wait (25) seconds; more is cut
// to max-wait." "204, with Inbox-Cursor, when there was nothing (JSON too)."
func TestWait(t *testing.T) {
	const most = 25 * time.Second
	for query, want := range map[string]time.Duration{
		"":                           most,
		"?after=0":                   most,
		"?wait=25":                   most,
		"?wait=26":                   most,
		"?wait=2147483648":           most,
		"?wait=99999999999999999999": most,
		"?wait=0":                    0,
		"?wait=000":                  0,
		"?wait=1":                    time.Second,
		"?wait=07":                   7 * time.Second,
		"?wait=24&after=0":           24 * time.Second,
		"?limit=0":                   0, // "0 acknowledges and returns at once"
		"?limit=0&wait=25":           0,
		"?limit=0&after=0":           0,
		"?limit=1":                   most,
	} {
		for _, accept := range []string{"*/*", "application/json"} {
			t.Run(fmt.Sprint(query, " ", accept), func(t *testing.T) {
				inBubble(t, config{}, func(s *server) {
					begin := time.Now()
					a := s.do(request{id: "alice", query: query, header: http.Header{"Accept": {accept}}})
					a.want(http.StatusNoContent, "").cursor()
					a.wantHeader("X-From", "").wantHeader("Inbox-Reset", "").wantHeader("Content-Type", "")
					if took := time.Since(begin); took != want {
						t.Fatalf("waited for %v, want %v", took, want)
					}
				})
			})
		}
	}
}

// A message ends a wait at the moment it is sent.
func TestWaitEndsWithAMessage(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		for _, query := range []string{"?limit=7", "", "?after=0"} {
			waits := s.wait("alice", query)
			s.turnClock(11 * time.Second)
			sent := time.Now()
			s.send("bob", "alice", "at last")
			waits.answer().wantMessage("bob", "at last")
			s.wantElapsed(sent, 0)
		}
	})
}

func TestMaxWait(t *testing.T) {
	inBubble(t, config{Config: maxWait(1500 * time.Millisecond)}, func(s *server) {
		for query, want := range map[string]time.Duration{
			"": 1500 * time.Millisecond, "?wait=1": time.Second, "?wait=2": 1500 * time.Millisecond, "?wait=100": 1500 * time.Millisecond,
		} {
			begin := time.Now()
			s.get("alice", query).want(http.StatusNoContent)
			if took := time.Since(begin); took != want {
				t.Errorf("%s: waited for %v, want %v", query, took, want)
			}
		}
	})
}

// "limit: messages in one answer, 0 to the inbox's capacity. Default: 1 for a raw
// body, else 100." "A raw body is one message, whatever limit."
func TestLimit(t *testing.T) {
	overStores(t, config{limits: inbox.Limits{Messages: 150}, Config: capacity(150)}, func(s *server) {
		s.open("alice")
		for i := range 150 {
			s.send("bob", "alice", fmt.Sprint(i))
		}
		for query, want := range map[string]int{
			"?after=0": 100, "?after=0&limit=1": 1, "?after=0&limit=2": 2, "?after=0&limit=150": 150,
			"?after=0&limit=151": 150, "?after=0&limit=99999999999999999999": 150, "?after=0&limit=007": 7,
		} {
			if got := len(s.getJSON("alice", query).batch().Messages); got != want {
				s.Errorf("%s: %d messages, want %d", query, got, want)
			}
			s.get("alice", query).wantMessage("bob", "0")
		}
		s.getJSON("alice", "?limit=0").want(http.StatusNoContent)
		s.get("alice", "?limit=0&after=0").want(http.StatusNoContent)

		// Popped in one answer, they are removed together.
		popped := s.getJSON("alice", "?limit=149").batch().Messages
		if len(popped) != 149 || *popped[148].Body != "148" {
			s.Fatalf("popped %d messages", len(popped))
		}
		s.poll("alice").wantMessage("bob", "149")
		s.poll("alice").want(http.StatusNoContent)
	})
}

func TestLimitOfASmallInbox(t *testing.T) {
	overStores(t, config{limits: inbox.Limits{Messages: 3}, Config: capacity(3)}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "1", "2", "3")
		s.getJSON("alice", "?after=0").wantBodies("1", "2", "3")
	})
}

// What a query cannot mean is 400, and takes nothing.
func TestBadQueries(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		for query, code := range map[string]string{
			"?wait=": "bad-request", "?wait": "bad-request", "?wait=-1": "bad-request", "?wait=1.5": "bad-request",
			"?wait=1e1": "bad-request", "?wait=0x1": "bad-request", "?wait=+1": "bad-request", "?wait=%2B1": "bad-request",
			"?wait=5s": "bad-request", "?wait=%201": "bad-request", "?wait=１": "bad-request", "?wait=1&wait=1": "bad-request",
			"?limit=": "bad-request", "?limit=-1": "bad-request", "?limit=all": "bad-request", "?limit=1&limit=1": "bad-request",
			"?limit=1_0": "bad-request", "?wait=0&wait=25": "bad-request", "?after=0&after=0": "bad-request",
			"?%zz": "bad-request", "?after=0;wait=0": "bad-request", "?wait=%": "bad-request",
			"?after=": "bad-cursor", "?after": "bad-cursor",
		} {
			if a := s.get("alice", query); a.code != code {
				s.Errorf("%s: got %d %q, want %s", query, a.status, a.code, code)
			}
		}
		// What it does not know says nothing.
		s.get("alice", "?wait=0&to=bob&debug=true&WAIT=x&after=0").wantMessage("bob", "precious")
	})
}

// "A GET has no body": who sends one meant something else.
func TestGetWithABody(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		s.do(request{id: "alice", body: strings.NewReader("after=0")}).wantProblem("bad-request")
		s.do(request{id: "alice", body: &inPieces{"after=0", 2}}).wantProblem("bad-request")
		s.poll("alice").wantMessage("bob", "precious")
	})
}

// "HEAD /inbox is 405: it must never take a message."
func TestHeadTakesNothing(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		for _, query := range []string{"", "?wait=0", "?after=0", "?limit=0"} {
			a := s.do(request{method: http.MethodHead, id: "alice", query: query})
			a.want(http.StatusMethodNotAllowed, "").wantHeader("Allow", "GET, POST, DELETE, OPTIONS")
		}
		s.poll("alice").wantMessage("bob", "precious")
	})
}

// A client that has read its whole answer, and asks again over another connection, does
// not get the same message again.
func TestPopRemovesBeforeItsAnswerEnds(t *testing.T) {
	const n = 2000
	s := start(t, config{sockets: true})
	s.open("alice")
	twice := 0
	for i := range n {
		s.send("bob", "alice", fmt.Sprint(i))
		for again := range 2 {
			c := s.rawClient() // as curl does
			c.ask("alice", "?wait=0", "")
			if a := c.answer(http.MethodGet); a.status == http.StatusOK {
				a.wantMessage("bob", fmt.Sprint(i))
				twice += again
			}
			c.Close()
		}
		inboxtest.Until(t, "the message has left", func() bool { return s.held("alice") == 0 })
	}
	if twice > 0 {
		t.Errorf("%d of %d messages were received twice, one after the other", twice, n)
	}
}
