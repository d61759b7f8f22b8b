package inboxhttp_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
)

// PROTOCOL, section 4: "Cursors belong to one life of one inbox."

// parse reads a cursor as only the server should.
func parse(t testing.TB, s string) inbox.Cursor {
	t.Helper()
	c, err := inbox.ParseCursor(s)
	if err != nil {
		t.Fatalf("the server gave out the cursor %q: %v", s, err)
	}
	return c
}

// "204, with Inbox-Cursor, when there was nothing": the position that has been
// acknowledged, from which one goes on.
func TestCursorOfAnEmptyAnswer(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		start := s.poll("alice").want(http.StatusNoContent).cursor()
		s.send("bob", "alice", "one", "two")
		first := s.get("alice", "?after="+start).wantMessage("bob", "one")
		if got := s.get("alice", "?limit=0").cursor(); got != start {
			s.Error("an answer without messages names a position that was not acknowledged")
		}
		if got := s.get("alice", "?limit=0&after="+first.cursor()).cursor(); got != first.cursor() {
			s.Error("an answer without messages does not name the position that was acknowledged")
		}
		s.poll("alice").wantMessage("bob", "two")
	})
}

// "A cursor from an earlier life (the inbox expired, or the server restarted,
// and the name was created again) acknowledges nothing; the answer then carries
// Inbox-Reset: true (JSON: "reset": true)."
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
					s.Error("the JSON form does not tell of the reset")
				}
				empty := s.get("alice", "?limit=0&after="+old).want(http.StatusNoContent)
				empty.wantHeader("Inbox-Reset", "true")

				// From the new position on, all is well.
				next := s.getJSON("alice", "?after="+raw.cursor()).wantBodies("four", "five")
				next.wantHeader("Inbox-Reset", "")
				if next.batch().Reset != nil {
					s.Error("a reset is told twice")
				}
			})
		})
	}
}

// Who waits with a cursor of an earlier life is told at once.
func TestResetEndsAWait(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		old := s.poll("alice").cursor()
		s.expire()
		begin := time.Now()
		s.get("alice", "?after="+old).want(http.StatusNoContent, "").wantHeader("Inbox-Reset", "true")
		s.wantElapsed(begin, 0)
	})
}

// The cursor of another inbox is from no life of this one.
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

// "A cursor that the server cannot have issued is 400 bad-cursor", and nothing
// happens: nobody is replaced and nothing leaves.
func TestCursorsThatWereNeverIssued(t *testing.T) {
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

// "Sequence numbers inside cursors only grow and are never given out twice in
// one life."
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

// A cursor goes into a URL and a header as it is.
func TestCursorsNeedNoEncoding(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		for id := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
			if c := s.poll(id).cursor(); escape(c) != c || c == "0" {
				s.Errorf("the cursor %q", c)
			}
		}
	})
}
