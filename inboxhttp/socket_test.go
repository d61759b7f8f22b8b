package inboxhttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/inboxhttp"
)

// Section 6: the frames of a socket.

// A peer authenticates with Basic at the handshake or with a first frame.
func TestSocketOpen(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		basic := s.dialSocket(handshake{id: "alice"})
		basic.wantOpened(false)
		basic.usable("alice")

		framed := s.dialSocket(handshake{})
		framed.say(`{"type":"open","id":"bob","password":%q}`, passwordOf("bob"))
		framed.wantOpened(false)
		framed.usable("bob")

		// Both sides ignore fields that they do not know.
		later := s.dialSocket(handshake{})
		later.say(` {"v":2,"nested":{"a":[1,{"type":"send"}]},"id":"carol","password":%q,"type":"open","x":null} `, passwordOf("carol"))
		later.wantOpened(false)
		later.usable("carol")
	})
}

// The cursor of opened is the position before the first message: resuming from it loses
// nothing.
func TestSocketOpenedCursor(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		w := s.dialSocket(handshake{id: "alice"})
		empty := w.wantOpened(false)
		s.send("bob", "alice", "one", "two", "three")
		last := w.wantMessages("bob", "one", "two", "three")
		w.conn.Close()

		s.getJSON("alice", "?wait=0&after="+empty).wantBodies("one", "two", "three")
		w = s.dialSocket(handshake{id: "alice", query: "?after=" + last})
		if got := w.wantOpened(false); got != last {
			s.Errorf("opened at %s, want %s", got, last)
		}
		w.conn.Close()
		s.send("bob", "alice", "four", "five")
		w = s.dialSocket(handshake{id: "alice"})
		before := w.wantOpened(false)
		w.wantMessages("bob", "four", "five")
		s.getJSON("alice", "?wait=0&after="+before).wantBodies("four", "five")
	})
}

// A socket delivers the same messages as a poll.
func TestSocketMessage(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		w := s.socket("alice", "")
		for _, body := range []string{"", "x", "\xff\xfe", "名前\r\n\u2028", `{"a":"\"</script>"}`, strings.Repeat("é", 32<<10), strings.Repeat("\x00", 64<<10)} {
			s.send("bøb b", "alice", body)
			got := w.hear()
			polled := s.getJSON("alice", "?wait=0&after=0&limit=100").batch().Messages
			want := polled[len(polled)-1]
			if got.Type != "message" || got.Cursor != want.Cursor || got.From != want.From || got.Time != want.Time ||
				got.content() != body || (got.Body == nil) != (want.Body == nil) {
				s.Fatalf("got %.200v, want %.200v", got, want)
			}
			if _, err := time.Parse(time.RFC3339Nano, got.Time); err != nil {
				s.Error(err)
			}
			w.say(`{"type":"ack","after":%q}`, got.Cursor)
			s.untilHeld("alice", 0)
		}
	})
}

func TestSocketSend(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		s.open("bob")
		w := s.socket("alice", "")
		w.send("bob", "hello", "k1")
		w.wantSent("k1", false)
		w.say(`{"type":"send","to":"bob","body":"no key"}`)
		w.wantSent("", false)
		w.say(`{"type":"send","to":"bob","body64":"//4=","key":"k2"}`)
		w.wantSent("k2", false)
		w.say(`{"type":"send","to":"bob","body":"","key":"k3"}`)
		w.wantSent("k3", false)
		w.say(`{"type":"send","to":"bob","body64":"","key":"k4"}`)
		w.wantSent("k4", false)
		w.say(`{"type":"send","to":"b\u006fb","body":"\u00e9\ud83d\ude00\n\"\\\/","key":"k5"}`)
		w.wantSent("k5", false)
		for _, body := range []string{"hello", "no key", "\xff\xfe", "", "", "é😀\n\"\\/"} {
			s.poll("bob").wantMessage("alice", body)
		}
		s.poll("bob").want(http.StatusNoContent)
	})
}

// key acts like Idempotency-Key, also across a socket and a POST.
func TestSocketReplayed(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		s.open("bob")
		w := s.socket("alice", "")
		for i := range 3 {
			w.send("bob", "offer", "k1")
			w.wantSent("k1", i > 0)
		}
		w.send("bob", "another", "k1")
		w.wantSent("k1", false)
		s.wantReplayed(true, "alice", "bob", "k1", "offer")
		s.wantReplayed(false, "alice", "bob", "k2", "from a post")
		w.send("bob", "from a post", "k2")
		w.wantSent("k2", true)
		for _, body := range []string{"offer", "another", "from a post"} {
			s.poll("bob").wantMessage("alice", body)
		}
		s.poll("bob").want(http.StatusNoContent)
	})
}

// An error frame has a code and status of section 7 and leaves the socket open.
func TestSocketErrors(t *testing.T) {
	c := config{Config: capacity(2)}
	c.MaxBody, c.limits.Messages = 10, 2
	overEach(t, socketWires, c, func(s *server) {
		w := s.socket("alice", "")
		s.open("bob")
		s.send("carol", "bob", "1", "2")
		for text, want := range map[string]string{
			`"to":"nobody","body":"x"`:                 "no-such-inbox",
			`"to":"bob","body":"x"`:                    "inbox-full",
			`"to":"alice","body":"12345678901"`:        "too-large",
			`"to":"alice","body64":"MTIzNDU2Nzg5MDE="`: "too-large",
			`"body":"x"`:                "bad-recipient",
			`"to":"","body":"x"`:        "bad-recipient",
			`"to":"a:b","body":"x"`:     "bad-recipient",
			`"to":" a","body":"x"`:      "bad-recipient",
			`"to":"a\u0000","body":"x"`: "bad-recipient",
			`"to":"` + strings.Repeat("a", 513) + `","body":""`: "bad-recipient",
			`"to":"alice"`: "bad-request",
			`"to":"alice","body":"x","body64":"eA=="`: "bad-request",
			`"to":"alice","body64":"x"`:               "bad-request",
			`"to":"alice","body64":"eA"`:              "bad-request",
			`"to":"alice","body64":"-_8="`:            "bad-request",
		} {
			w.say(`{"type":"send","key":"k",%s}`, text)
			w.wantError("k", want)
		}
		w.say(`{"type":"send","to":"nobody","body":"x"}`)
		w.wantError("", "no-such-inbox")
		for _, key := range []string{strings.Repeat("k", 65), "a b", "\u00e9", "\u007f"} {
			w.send("alice", "x", key)
			w.wantError("", "bad-key")
		}
		w.usable("alice")
	})
}

// A message stays in the inbox until it is acknowledged.
func TestSocketAck(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		w := s.socket("alice", "")
		s.send("bob", "alice", "one", "two", "three")
		w.wantMessages("bob", "one")
		two := w.wantMessages("bob", "two")
		w.wantMessages("bob", "three")
		s.untilHeld("alice", 3)
		w.say(`{"type":"ack","after":%q}`, two)
		s.untilHeld("alice", 1)
		w.say(`{"type":"ack","after":%q}`, two) // a repetition has no effect
		w.say(`{"type":"ack","after":"0"}`)
		s.send("bob", "alice", "four")
		w.wantMessages("bob", "four")
		s.untilHeld("alice", 2)
	})
}

// A dropped socket is resumed with after, at the handshake or in the first frame.
func TestSocketResume(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		w := s.socket("alice", "")
		s.send("bob", "alice", "one", "two", "three")
		one := w.wantMessages("bob", "one")
		w.conn.Close()

		w = s.socket("alice", "?after="+one)
		two := w.wantMessages("bob", "two")
		w.wantMessages("bob", "three")
		w.conn.Close()

		w = s.dialSocket(handshake{})
		w.say(`{"type":"open","id":"alice","password":%q,"after":%q}`, passwordOf("alice"), two)
		w.wantOpened(false)
		w.wantMessages("bob", "three")
		s.send("bob", "alice", "four")
		w.wantMessages("bob", "four")
		w.conn.Close()

		w = s.socket("alice", "?after=0")
		w.wantMessages("bob", "three", "four")
	})
}

// A cursor of an earlier life is answered with a reset.
func TestSocketReset(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "lost")
		old := s.get("alice", "?after=0").cursor()
		s.do(request{method: http.MethodDelete, id: "alice"})
		s.open("alice")
		s.send("bob", "alice", "of the next life")
		for range 2 { // each time such a cursor is used
			w := s.dialSocket(handshake{id: "alice", query: "?after=" + old})
			w.wantOpened(true)
			w.wantMessages("bob", "of the next life")
			w.conn.Close()
		}
		w := s.dialSocket(handshake{})
		w.say(`{"type":"open","id":"alice","password":%q,"after":%q}`, passwordOf("alice"), old)
		w.wantOpened(true)
		cursor := w.wantMessages("bob", "of the next life")
		w.say(`{"type":"ack","after":%q}`, old) // acknowledges nothing
		w.wantOpened(true)
		s.send("bob", "alice", "and more")
		w.wantMessages("bob", "and more")
		w.say(`{"type":"ack","after":%q}`, cursor)
		s.untilHeld("alice", 1)
		w.usable("alice")
	})
}

// A socket ends with the close code of the reason: 4409 replaced, 4410 closed, 1012
// draining.
func TestSocketEnds(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		w := s.socket("alice", "")
		newer := s.socket("alice", "")
		w.wantClose(4409)
		s.send("bob", "alice", "for the newer")
		newer.wantMessages("bob", "for the newer")
		s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
		newer.wantClose(4410)
		if s.alive("alice") {
			s.Error("the inbox exists after it was closed")
		}

		w = s.socket("alice", "")
		bare := s.dialSocket(handshake{})
		s.drain()
		w.wantClose(1012)
		bare.wantClose(1012)
		s.dialSocket(handshake{id: "alice"}).wantClose(1012)
		s.send("bob", "alice", "for the next server")
		if held := s.held("alice"); held != 1 {
			s.Errorf("%d messages, want 1", held)
		}
	})
}

// A refused open frame closes the socket with 4401 or 4400.
func TestSocketRefused(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		waits := s.socket("alice", "")
		future := futureCursor(s, "alice")
		for first, want := range map[string]int{
			`{"type":"open","id":"alice","password":"guessed"}`:                                                   4401,
			`{"type":"open","id":"alice"}`:                                                                        4400,
			`{"type":"open","password":"x"}`:                                                                      4400,
			`{"type":"open","id":"a:b","password":"x"}`:                                                           4400,
			`{"type":"open","id":"alice","password":"` + strings.Repeat("x", 257) + `"}`:                          4400,
			`{"type":"open","id":"alice","password":` + quote(passwordOf("alice")) + `,"after":"x"}`:              4400,
			`{"type":"open","id":"alice","password":` + quote(passwordOf("alice")) + `,"after":""}`:               4400,
			`{"type":"open","id":"alice","password":` + quote(passwordOf("alice")) + `,"after":"` + future + `"}`: 4400,
			`{"type":"send","to":"alice","body":"x"}`:                                                             4400,
			`{"type":"ack","after":"0"}`:                                                                          4400,
			`{"type":"shout"}`:                                                                                    4400,
			`{}`:                                                                                                  4400,
			`{"type":"OPEN","id":"alice","password":` + quote(passwordOf("alice")) + `}`:                          4400,
			`{"type":"open","id":"alice","password":` + quote(passwordOf("alice")) + `,"after":{"a":1}}`:          1007,
			`["open"]`:    1007,
			`open`:        1007,
			``:            1007,
			`{"type":"op`: 1007,
		} {
			w := s.dialSocket(handshake{})
			w.write(text(first))
			w.wantClose(want)
		}
		waits.usable("alice") // nobody has replaced it
	})
}

// Errors in later frames.
func TestSocketBadFrames(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		for later, want := range map[string]int{
			`{"type":"open","id":"alice","password":"x"}`: 4400,
			`{"type":"shout"}`:                            4400,
			`{"body":"x"}`:                                4400,
			`{"type":"ack"}`:                              4400,
			`{"type":"ack","after":""}`:                   4400,
			`{"type":"ack","after":"x"}`:                  4400,
			`{"type":"ack","after":"FUTURE"}`:             4400,
			`{"type":"ack","after":5}`:                    1007,
			`{"type":5}`:                                  1007,
			`{"type":"send","to":"alice","body":{}}`:      1007,
			`null`:                                        1007,
			`"send"`:                                      1007,
			`{} {}`:                                       1007,
			`{"type":"send",}`:                            1007,
			`{"type":"send" "to":"alice"}`:                1007,
			"{\"type\":\"send\",\"to\":\"alice\",\"body\":\"a\nb\"}": 1007,
			"{\"type\":\"send\",\"to\":\"alice\",\"body\":\"\xff\"}": 1007,
			"\xff": 1007,
		} {
			id := fmt.Sprintf("peer %x", later)
			w := s.socket(id, "")
			later = strings.Replace(strings.Replace(later, "alice", id, 1), "FUTURE", futureCursor(s, id), 1)
			w.write(text(later))
			if got := w.endsWith(); got != want {
				s.Errorf("%q closed with %d, want %d", later, got, want)
			}
			if held := s.held(id); held != 0 {
				s.Errorf("%q sent a message", later)
			}
		}
	})
}

// endsWith returns the code with which the server closes, or 0 if another frame arrives.
func (w *webSocket) endsWith() int {
	w.Helper()
	f, ok := w.next()
	if !ok || f.op != opClose {
		w.conn.Close()
		return 0
	}
	w.wantEnd()
	return closeCode(f)
}

// untilHeld waits until an inbox contains this many messages.
func (s *server) untilHeld(id string, want int) {
	s.Helper()
	deadline := time.Now().Add(s.patience())
	for held := s.held(id); held != want; held = s.held(id) {
		if time.Now().After(deadline) {
			s.Fatalf("the inbox has %d messages, want %d", held, want)
		}
		time.Sleep(s.pollPause / 10)
	}
}

// futureCursor returns a cursor that the inbox of id has not reached yet.
func futureCursor(s *server, id string) string {
	s.Helper()
	c, err := inbox.ParseCursor(s.get(id, "?limit=0").cursor())
	if err != nil {
		s.Fatal(err)
	}
	c.Seq += 1000
	return c.String()
}

// Sockets of different peers do not affect each other.
func TestManySockets(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		var all []*webSocket
		for i := range 10 {
			all = append(all, s.socket(fmt.Sprint("peer-", i), ""))
		}
		for i, w := range all {
			to := fmt.Sprint("peer-", (i+1)%len(all))
			w.send(to, "to "+to, "k")
			w.wantSent("k", false)
			all[(i+1)%len(all)].wantMessages(fmt.Sprint("peer-", i), "to "+to)
		}
	})
}

// opened carries maxBody, so that a client can avoid a frame that would close its socket.
func TestOpenedHasMaxBody(t *testing.T) {
	const most = 8 << 10
	overStores(t, config{Config: inboxhttp.Config{MaxBody: most}}, func(s *server) {
		w := s.dialSocket(handshake{id: "alice"})
		if m := w.hear(); m.Type != "opened" || m.MaxBody != most {
			s.Errorf("got %+v, want opened with maxBody %d", m, most)
		}
	})
}
