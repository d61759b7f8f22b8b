package peerjs_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/peerjs"
)

// A forwarded frame has type, src, dst and payload. src is the real sender, whatever the
// frame claims, and the payload is unchanged.
func TestForward(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		alice, bob := s.open("alice"), s.open("bob")
		payload := `{ "sdp": {"type":"offer","sdp":"v=0\r\n\u00e4"}, "unknown":[1.50, 1e400, {"x":null}], "metadata":"\ud83d\ude00" }`
		for _, kind := range []string{"OFFER", "ANSWER", "CANDIDATE", "LEAVE", "EXPIRE"} {
			alice.Say(`{"payload":` + payload + `,"src":"mallory","extra":1,"dst":"bob","type":"` + kind + `"}`)
			got := bob.Hear()
			if !strings.Contains(got, payload) {
				s.Errorf("the payload became %s", got)
			}
			var f map[string]json.RawMessage
			if err := json.Unmarshal([]byte(got), &f); err != nil {
				s.Fatal(err)
			}
			if len(f) != 4 || string(f["src"]) != `"alice"` || string(f["dst"]) != `"bob"` || string(f["type"]) != quote(kind) {
				s.Errorf("%s became %s", kind, got)
			}
		}
		alice.Say(`{"type":"OFFER","dst":"bob"}`) // absent payloads stay absent
		bob.Want(`{"type":"OFFER","src":"alice","dst":"bob"}`)
		alice.Say(`{"type":"OFFER","dst":"bob","payload":null}`)
		bob.Want(`{"type":"OFFER","src":"alice","dst":"bob","payload":null}`)
		alice.Say(`{"type":"OFFER","dst":"carol","payload":1,"dst":"bob","payload":2}`) // like JSON.parse
		bob.Want(`{"type":"OFFER","src":"alice","dst":"bob","payload":2}`)
		alice.offer("alice", "3") // to itself
		alice.Want(`{"type":"OFFER","src":"alice","dst":"alice","payload":3}`)
	})
}

// Invalid frames are ignored, and the socket stays open.
func TestIgnored(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		alice, bob := s.open("alice"), s.open("bob")
		for _, frame := range []string{
			"", " ", "{", "null", "1", "[]", `"x"`, `{}`, `{"type":"HEARTBEAT"}`, `{"type":"OPEN","dst":"bob"}`,
			`{"type":"HEARTBEAT","dst":"bob"}`, `{"type":"offer","dst":"bob"}`, `{"type":"OFFER"}`, `{"type":"OFFER","dst":""}`,
			`{"type":"OFFER","dst":null}`, `{"type":"OPEN","dst":1}`, `{"type":"EXPIRE","dst":["bob"]}`, `{"type":1,"dst":"bob"}`,
			`{"type":["OFFER"],"dst":"bob"}`, `{"type":"OFFER","dst":"bob","payload":}`, `{"type":"OFFER","dst":"bob","payload":{"a":}}`,
			`{"type":"OFFER","dst":"bob","payload":01}`, `{"type":"OFFER","dst":"bob"}}`, `{"type":"OFFER","dst":"bob"} x`,
			"{\"type\":\"OFFER\",\"dst\":\"bob\",\"payload\":\"a\nb\"}", `{"type":"OFFER","dst":"bob","payload":1,}`, `{'type':'OFFER'}`,
			`{"type":"EXPIRE"}`, `{"type":"ID-TAKEN","dst":"bob","payload":{}}`, `{"type":"ERROR","dst":"bob"}`, `{"Type":"OFFER","Dst":"bob"}`,
			strings.Repeat("[", 20000), `{"a":` + strings.Repeat(`{"a":`, 20000),
		} {
			alice.Say(frame)
		}
		alice.offer("bob", "{}")
		bob.wantFrom("alice", "OFFER", "{}")
		alice.silent(10 * time.Second)
		bob.silent(time.Second)
	})
}

// Messages to an absent peer wait, and arrive in order after its OPEN.
func TestHeld(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		alice := s.open("alice")
		alice.offer("bob", "0")
		for i := 1; i < 20; i++ {
			alice.Say(message("CANDIDATE", "bob", fmt.Sprint(i)))
		}
		s.turnClock(4 * time.Second)
		alice.Say(message("CANDIDATE", "bob", "20"))
		bob := s.open("bob")
		bob.wantFrom("alice", "OFFER", "0")
		for i := 1; i <= 20; i++ {
			bob.wantFrom("alice", "CANDIDATE", fmt.Sprint(i))
		}
		// Once it is there, messages arrive immediately.
		s.wantElapsed(elapsed(func() {
			alice.offer("bob", "21")
			bob.wantFrom("alice", "OFFER", "21")
		}), 0, time.Millisecond)
		alice.silent(time.Minute)
	})
}

// Each message expires after five seconds. Its sender gets one EXPIRE for all messages
// that it has sent by then.
func TestExpire(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		alice := s.open("alice")
		s.wantElapsed(elapsed(func() {
			alice.offer("bob", "0")
			alice.offer("carol", "0")
			time.Sleep(2 * time.Second)
			alice.Say(message("CANDIDATE", "bob", "1")) // covered by the EXPIRE to come
			time.Sleep(2 * time.Second)
			alice.Say(message("CANDIDATE", "bob", "2"))
			alice.wantExpire("bob")
			alice.wantExpire("carol")
		}), 5*time.Second, 5300*time.Millisecond)
		time.Sleep(700 * time.Millisecond)
		alice.offer("bob", "3") // after that EXPIRE
		time.Sleep(2 * time.Second)
		bob := s.open("bob") // 1 has expired by now: each message has its own time
		bob.wantFrom("alice", "CANDIDATE", "2")
		bob.wantFrom("alice", "OFFER", "3")
		bob.leave()
		s.wantElapsed(elapsed(func() {
			alice.Say(message("ANSWER", "bob", "4"))
			alice.wantExpire("bob")
		}), 5*time.Second, 5300*time.Millisecond)
		alice.silent(time.Minute)
	})
}

// The same in real time, with fewer steps.
func TestExpireOverTwoServers(t *testing.T) {
	t.Parallel()
	const hold = time.Second
	s := twoServers(t, inbox.Limits{}, peerjs.Config{}, hold)
	for _, id := range []string{"alice", "carol"} { // at either server
		c := s.open(id)
		for range 2 {
			s.wantElapsed(elapsed(func() { c.offer("bob", "0"); c.wantExpire("bob") }), hold, 0)
		}
		c.silent(time.Minute)
	}
	s.open("bob").silent(time.Minute) // none arrives late
}

// A message sent after an EXPIRE gets another EXPIRE.
func TestExpireAgain(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		alice := s.open("alice")
		alice.offer("bob", "0")
		time.Sleep(4 * time.Second)
		alice.offer("bob", "1")
		alice.wantExpire("bob")
		alice.offer("bob", "2")
		s.wantElapsed(elapsed(func() { alice.wantExpire("bob") }), 5*time.Second, 5300*time.Millisecond)
		alice.silent(time.Minute)
	})
}

// LEAVE and EXPIRE do not wait for absent peers. HEARTBEAT and other types are not forwarded.
func TestNotHeld(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		alice := s.open("alice")
		for _, kind := range []string{"LEAVE", "EXPIRE", "HEARTBEAT", "OPEN"} {
			alice.Say(message(kind, "bob", "{}"))
		}
		alice.handled()
		alice.silent(time.Second)
		bob := s.open("bob")
		bob.silent(10 * time.Second)
		alice.silent(time.Second)
		bob.leave()

		alice.offer("bob", "1") // held and not overtaken
		s.turnClock(10 * time.Millisecond)
		bob = s.open("bob")
		alice.Say(message("LEAVE", "bob", "2"))
		bob.wantFrom("alice", "OFFER", "1")
		bob.wantFrom("alice", "LEAVE", "2")
	})
}

// Held messages are dropped when their sender leaves: an answer could not reach it.
func TestSenderLeaves(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		alice := s.open("alice")
		alice.offer("bob", "1")
		s.turnClock(time.Second)
		alice.leave()
		s.open("bob").silent(10 * time.Second)
	})
}

// LEAVE without a dst gives the id back. The socket stays open but sends nothing more.
func TestLeaves(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{Discovery: true}, func(s *server) {
		alice, bob := s.open("alice"), s.open("bob")
		alice.offer("nobody", "1")
		alice.Say(`{"type":"LEAVE"}`)
		alice.offer("bob", "2")
		alice.silent(time.Minute)
		bob.silent(time.Second)
		s.untilPeers(`["bob"]`)
		s.untilOpen("alice", "another")
		s.untilPeers(`["alice","bob"]`)
		alice.leave()
		s.knock("alice", "a third").Want(taken)
	})
}

// If a peer does not read in time, senders get EXPIRE for its unread messages: when it
// leaves, or when its inbox stays full for too long.
func TestUnread(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		alice, carol := s.open("alice"), s.open("carol")
		stuck, err := s.try("key=peerjs&id=bob&token=x")
		if err != nil {
			t.Fatal(err)
		}
		stuck.Want(`{"type":"OPEN"}`)
		stuck.Frames <- "" // the reader stops when this channel is full
		for range cap(stuck.Frames) - 1 {
			stuck.Frames <- ""
		}
		large := `"` + strings.Repeat("x", 10_000) + `"`
		for range 3 {
			alice.offer("bob", large)
			carol.offer("bob", large)
		}
		s.wantElapsed(elapsed(func() {
			alice.wantExpire("bob")
			carol.wantExpire("bob")
		}), 5*time.Second, 40*time.Second)
		alice.silent(10 * time.Second)
		carol.silent(time.Second)
		s.knock("bob", "another").Want(`{"type":"OPEN"}`)
		for range stuck.Frames {
		}
	})
}

// expires counts the EXPIREs that arrive within d.
func (c *client) expires(d time.Duration) (n int) {
	c.Helper()
	for end := time.After(d); ; {
		select {
		case f := <-c.Frames:
			if !strings.Contains(f, `"EXPIRE"`) {
				c.Fatalf("got %.100s, want an EXPIRE", f)
			}
			n++
		case <-end:
			return n
		}
	}
}

// A sender with too many recipients, messages or bytes waiting gets EXPIRE immediately.
func TestBoundsOfOneSender(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		alice := s.open("alice")
		for i := range 200 { // recipients
			alice.offer(fmt.Sprint("x", i), "{}")
		}
		if n := alice.expires(time.Second); n != 200-128 {
			t.Errorf("%d of 200 recipients were too many", n)
		}
		if n := alice.expires(time.Minute); n != 128 {
			t.Errorf("%d expired later", n)
		}
		for range 2000 { // messages
			alice.offer("bob", "{}")
		}
		if n := alice.expires(time.Second); n != 1 {
			t.Errorf("got %d EXPIREs for too many messages", n)
		}
		if n := alice.expires(time.Minute); n != 0 {
			t.Errorf("%d arrived later", n)
		}
		for i := range 10 { // bytes of ids
			alice.offer(fmt.Sprint(strings.Repeat("x", 200_000), i), "{}")
		}
		if n := alice.expires(time.Second); n != 10-5 {
			t.Errorf("%d of 10 long ids were too many", n)
		}
		if n := alice.expires(time.Minute); n != 5 {
			t.Errorf("%d expired later", n)
		}
		for range 10 { // bytes
			alice.offer("bob", large)
		}
		if n := alice.expires(time.Second); n != 1 {
			t.Errorf("got %d EXPIREs for messages that are too large", n)
		}
	})
}

// large is a payload of which one sender can have five waiting.
var large = `"` + strings.Repeat("x", 200_000) + `"`

// All senders share a bound, in whatever order their messages come. Each refused message
// gets an EXPIRE, except that one EXPIRE covers all messages from a sender to the same
// peer.
func TestBoundOfAllSenders(t *testing.T) {
	for _, c := range []struct {
		order string // which of three senders sends, five messages each; there is room for ten
		told  [3]int
	}{
		{"111112222233333", [3]int{0, 0, 5}},
		{"123123123123123", [3]int{1, 1, 1}},
		{"111122222313333", [3]int{1, 0, 1}},
		{"333332222211111", [3]int{5, 0, 0}},
		{"111112222332333", [3]int{0, 1, 1}},
	} {
		t.Run(c.order, func(t *testing.T) {
			inBubble(t, peerjs.Config{MaxHeld: 2_100_000}, func(s *server) {
				senders := []*client{s.open("o1"), s.open("o2"), s.open("o3")}
				for _, who := range c.order {
					senders[who-'1'].offer("bob", large)
					s.settle()
				}
				var told [3]int
				for i, o := range senders {
					told[i] = o.expires(time.Second)
				}
				if told != c.told {
					t.Errorf("the senders got EXPIRE %v times, want %v", told, c.told)
				}
				time.Sleep(time.Minute)
				for _, o := range senders {
					o.expires(time.Second)
					o.leave()
				}
				// Everything is returned to the budget.
				carol := s.open("carol")
				for range 5 {
					carol.offer("dave", large)
				}
				carol.silent(time.Second)
				dave := s.open("dave")
				for range 5 {
					dave.wantFrom("carol", "OFFER", large)
				}
			})
		})
	}
}

// A burst for one peer arrives whole and in order, even if it exceeds the inbox.
func TestBurst(t *testing.T) {
	overStores(t, inbox.Limits{Messages: 10}, peerjs.Config{}, func(s *server) {
		bob := s.open("bob")
		senders, each := 20, 40
		if !s.bubble {
			senders, each = 10, 20
		}
		for i := range senders {
			c := s.open(fmt.Sprint("s", i))
			go func() {
				for j := range each {
					c.Say(message("CANDIDATE", "bob", fmt.Sprint(j)))
				}
			}()
		}
		next := make(map[string]int)
		for range senders * each {
			var f struct {
				Src     string
				Payload int
			}
			if err := json.Unmarshal([]byte(bob.Hear()), &f); err != nil {
				s.Fatal(err)
			}
			if f.Payload != next[f.Src] {
				s.Fatalf("%s: got %d, want %d", f.Src, f.Payload, next[f.Src])
			}
			next[f.Src]++
		}
	})
}
