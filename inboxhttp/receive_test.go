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

// Section 4: receiving. Forms, cursors, expiry and replacement have their own files, and
// delivery_test.go covers what all transports have in common.

// Section 4.1: without after, a GET returns the oldest message and removes it.
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

// Section 4.2: an acknowledged GET can be repeated, and returned messages stay until they
// are acknowledged.
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
		s.get("alice", "?after=0").wantMessage("bob", "two") // 0 acknowledges nothing

		third := s.get("alice", "?after="+second.cursor()).wantMessage("bob", "three")
		s.get("alice", "?wait=0&after="+third.cursor()).want(http.StatusNoContent)
		s.get("alice", "?wait=0&after="+third.cursor()).want(http.StatusNoContent)
		s.get("alice", "?wait=0&after="+first.cursor()).want(http.StatusNoContent) // acknowledged before, and harmless
	})
}

// after acknowledges every message up to and including its cursor.
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

// wait is capped at max-wait. An empty answer is 204 with Inbox-Cursor, for JSON too.
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
		"?limit=0":                   0, // answers immediately
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

// A message ends a wait immediately.
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

// limit defaults to 1 for a raw body and to 100 for JSON. A raw answer is always one
// message.
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

		// Messages that are popped in one answer are removed together.
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

// A malformed query is 400 and takes nothing.
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
		// Unknown parameters are ignored.
		s.get("alice", "?wait=0&to=bob&debug=true&WAIT=x&after=0").wantMessage("bob", "precious")
	})
}

// A GET with a body is refused.
func TestGetWithABody(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		s.do(request{id: "alice", body: strings.NewReader("after=0")}).wantProblem("bad-request")
		s.do(request{id: "alice", body: &inPieces{"after=0", 2}}).wantProblem("bad-request")
		s.poll("alice").wantMessage("bob", "precious")
	})
}

// HEAD is 405 and must never take a message.
func TestHeadTakesNothing(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		for _, query := range []string{"", "?wait=0", "?after=0", "?limit=0"} {
			a := s.do(request{method: http.MethodHead, id: "alice", query: query})
			a.want(http.StatusMethodNotAllowed, "").wantHeader("Allow", "GET, POST, PUT, DELETE, OPTIONS")
		}
		s.poll("alice").wantMessage("bob", "precious")
	})
}

// A client that has read its whole answer and polls again over another connection does
// not receive the message again.
func TestPopRemovesBeforeItsAnswerEnds(t *testing.T) {
	const n = 2000
	s := start(t, config{sockets: true})
	s.open("alice")
	twice := 0
	for i := range n {
		s.send("bob", "alice", fmt.Sprint(i))
		for again := range 2 {
			c := s.rawClient() // a new connection each time, like curl
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
