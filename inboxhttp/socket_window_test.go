package inboxhttp_test

import (
	"fmt"
	"strings"
	"testing"

	"inbox"
	"inbox/inboxhttp"
)

// Section 6: at most 32 messages or 256 KiB are unacknowledged on the wire.

// fence fails the test if any frame arrives before the pong to a ping, which the server
// answers after all pending work.
func (w *webSocket) fence() {
	w.Helper()
	w.send("nobody", "", "fence")
	w.wantError("fence", "no-such-inbox")
	w.write(frame(fin|opPing, "fence"))
	w.wantPong("fence")
}

func TestSocketWindowOfMessages(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		s.open("alice")
		all := numbers(100)
		s.send("bob", "alice", all...)
		w := s.socket("alice", "")
		w.wantMessages("bob", all[:10]...)
		ten := w.wantMessages("bob", all[10:11]...)
		w.wantMessages("bob", all[11:32]...)
		w.fence()
		w.say(`{"type":"ack","after":%q}`, ten) // room for 11
		eleven := w.wantMessages("bob", all[32:43]...)
		w.fence()
		w.say(`{"type":"ack","after":%q}`, ten) // no room
		w.fence()
		s.send("bob", "alice", "100") // waking the socket makes no room
		w.fence()
		for next := 43; next <= 100; next++ { // one by one
			if next < 100 {
				w.say(`{"type":"ack","after":%q}`, eleven)
				eleven = w.wantMessages("bob", all[next:min(next+32, 100)]...)
				next = min(next+32, 100) - 1
			}
		}
		w.say(`{"type":"ack","after":%q}`, eleven)
		last := w.wantMessages("bob", "100")
		w.say(`{"type":"ack","after":%q}`, last)
		s.untilHeld("alice", 0)
		w.usable("alice")
	})
}

func TestSocketWindowOfBytes(t *testing.T) {
	c := config{Config: inboxhttp.Config{MaxBody: 512 << 10}, limits: inbox.Limits{Bytes: 8 << 20}}
	overEach(t, socketWires, c, func(s *server) {
		s.open("alice")
		sizes := []int{64, 64, 64, 64, 1, 255, 1, 300, 1, 1, 512, 0, 100, 155}
		windows := [][]int{{0, 1, 2, 3}, {4, 5}, {6}, {7}, {8, 9}, {10}, {11, 12, 13}}
		for i, size := range sizes {
			s.send("bob", "alice", fmt.Sprint(i, strings.Repeat("x", max(0, size<<10-len(fmt.Sprint(i))))))
		}
		w := s.socket("alice", "")
		for _, window := range windows {
			cursor := ""
			for _, i := range window {
				m := w.hear()
				if got := m.content(); !strings.HasPrefix(got+"x", fmt.Sprint(i, "x")) || m.Type != "message" {
					s.Fatalf("got %s %.20q, want message %d", m.Type, got, i)
				}
				cursor = m.Cursor
			}
			w.fence()
			w.say(`{"type":"ack","after":%q}`, cursor)
		}
		w.usable("alice")
	})
}

// An acknowledgement by another request makes room when the socket looks again.
func TestSocketAcknowledgedElsewhere(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", numbers(40)...)
		w := s.socket("alice", "")
		last := w.wantMessages("bob", numbers(32)...)
		s.get("alice", "?limit=0&after="+last)
		w.wantMessages("bob", numbers(40)[32:]...)
	})
}

// A resumed socket has its own window.
func TestResumedSocketHasNewWindow(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", numbers(50)...)
		for range 3 {
			w := s.socket("alice", "")
			w.wantMessages("bob", numbers(32)...)
			w.fence()
			w.conn.Close()
		}
		w := s.socket("alice", "")
		cursor := w.wantMessages("bob", numbers(20)...)
		w.conn.Close()
		s.socket("alice", "?after="+cursor).wantMessages("bob", numbers(50)[20:]...)
	})
}
