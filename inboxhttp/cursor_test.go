package inboxhttp_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
)

// Section 4.4: a cursor belongs to one life of one inbox.

// parse decodes a cursor, which clients must not do.
func parse(t testing.TB, s string) inbox.Cursor {
	t.Helper()
	c, err := inbox.ParseCursor(s)
	if err != nil {
		t.Fatalf("the server gave out the cursor %q: %v", s, err)
	}
	return c
}

// Section 4.3: a 204 carries the acknowledged position, from which a client can continue.
func TestCursorOfAnEmptyAnswer(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		start := s.poll("alice").want(http.StatusNoContent).cursor()
		s.send("bob", "alice", "one", "two")
		first := s.get("alice", "?after="+start).wantMessage("bob", "one")
		if got := s.get("alice", "?limit=0").cursor(); got != start {
			s.Error("an empty answer has a cursor that was not acknowledged")
		}
		if got := s.get("alice", "?limit=0&after="+first.cursor()).cursor(); got != first.cursor() {
			s.Error("an empty answer does not have the acknowledged cursor")
		}
		s.poll("alice").wantMessage("bob", "two")
	})
}

// Section 4.4: a cursor of an earlier life acknowledges nothing, and the answer reports a
// reset.
func TestCursorOfAnEarlierLife(t *testing.T) {
	for name, end := range map[string]func(s *server){
		"expired": (*server).expire,
		"closed":  func(s *server) { s.do(request{method: http.MethodDelete, id: "alice"}) },
	} {
		t.Run(name, func(t *testing.T) {
			overStores(t, config{}, func(s *server) {
				s.open("alice")
				s.send("bob", "alice", "one", "two")
				old := s.getJSON("alice", "?after=0").wantBodies("one", "two").cursor()
				end(s)
				s.open("alice")
				s.send("bob", "alice", "three", "four", "five")

				raw := s.get("alice", "?after="+old)
				raw.wantMessage("bob", "three").wantHeader("Inbox-Reset", "true")
				a := s.getJSON("alice", "?after="+old).wantBodies("three", "four", "five")
				a.wantHeader("Inbox-Reset", "true")
				if reset := a.batch().Reset; reset == nil || !*reset {
					s.Error("the JSON form does not report the reset")
				}
				empty := s.get("alice", "?limit=0&after="+old).want(http.StatusNoContent)
				empty.wantHeader("Inbox-Reset", "true")

				// There is no reset with a cursor of the new life.
				next := s.getJSON("alice", "?after="+raw.cursor()).wantBodies("four", "five")
				next.wantHeader("Inbox-Reset", "")
				if next.batch().Reset != nil {
					s.Error("the reset is reported again")
				}
			})
		})
	}
}

// A long poll with a cursor of an earlier life is answered immediately.
func TestResetEndsAWait(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		old := s.poll("alice").cursor()
		s.expire()
		begin := time.Now()
		s.get("alice", "?after="+old).want(http.StatusNoContent, "").wantHeader("Inbox-Reset", "true")
		s.wantElapsed(begin, 0)
	})
}

// A cursor of another inbox counts as one of another life.
func TestCursorOfAnotherInbox(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice", "bob")
		s.send("carol", "bob", "1", "2", "3")
		s.send("carol", "alice", "one")
		foreign := s.getJSON("bob", "?after=0").cursor()
		s.get("alice", "?after="+foreign).wantMessage("carol", "one").wantHeader("Inbox-Reset", "true")
		s.poll("alice").wantMessage("carol", "one")
	})
}

// Section 4.4: a cursor that the server cannot have given out is 400 bad-cursor and has
// no effect: it replaces no receiver and removes no message.
func TestForgedCursors(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		start := s.poll("alice").cursor()
		waits := s.wait("alice", "?after="+start)
		life := parse(s, start).Life
		valid := inbox.Cursor{Life: life, Seq: 1}.String()
		for name, cursor := range map[string]string{
			"the next message":        valid,
			"far in the future":       inbox.Cursor{Life: life, Seq: 1<<64 - 1}.String(),
			"life 0":                  strings.Repeat("A", 22),
			"nothing":                 "",
			"00":                      "00",
			"a number":                "17",
			"negative":                "-1",
			"too short":               valid[:21],
			"too long":                valid + "A",
			"padded":                  valid + "==",
			"other base64":            "+/" + valid[2:],
			"spare bits":              valid[:21] + "B",
			"white space":             valid[:10] + "%20" + valid[11:],
			"a line end":              valid[:10] + "%0A" + valid[11:],
			"a line end after it":     valid + "%0A",
			"line ends within base64": valid[:10] + "%0D%0A" + valid[10:20],
			"not ASCII":               strings.Repeat("%C3%A9", 11),
			"very long":               strings.Repeat("A", 10000),
		} {
			if a := s.get("alice", "?wait=0&after="+cursor); a.code != "bad-cursor" {
				s.Errorf("%s: got %d %q", name, a.status, a.code)
			}
			if a := s.get("alice", "?after="+cursor); a.code != "bad-cursor" {
				s.Errorf("%s, waiting: got %d %q", name, a.status, a.code)
			}
		}
		s.send("bob", "alice", "still here")
		waits.answer().wantMessage("bob", "still here")
	})
}

// Within a life, sequence numbers only grow and are never reused.
func TestSequenceNumbers(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		life := parse(s, s.poll("alice").cursor())
		last := life.Seq
		for range s.times(50) {
			s.send("bob", "alice", "x", "y")
			for _, query := range []string{"", "?after=0"} {
				c := parse(s, s.get("alice", query).want(http.StatusOK).cursor())
				if c.Life != life.Life || c.Seq != last+1 {
					s.Fatalf("the cursor %v follows %v", c, inbox.Cursor{Life: life.Life, Seq: last})
				}
				last = c.Seq
			}
			s.get("alice", "?limit=0&after="+inbox.Cursor{Life: life.Life, Seq: last}.String())
		}
	})
}

// Cursors need no encoding in URLs and headers.
func TestCursorsNeedNoEncoding(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		for id := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
			if c := s.poll(id).cursor(); escape(c) != c || c == "0" {
				s.Errorf("the cursor %q", c)
			}
		}
	})
}
