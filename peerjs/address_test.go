package peerjs_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/peerjs"
)

// addresses has values of dst, and the src of the resulting EXPIRE: "" for values that
// are falsy in JavaScript, which have none. web/peerjs/wire.test.js checks the same table
// against peerjs-server.
var addresses = []struct{ dst, src string }{
	{`1`, `1`}, {`123`, `123`}, {`-1`, `-1`}, {`1.50`, `1.5`}, {`-0.25e1`, `-2.5`}, {`1e21`, `1e+21`}, {`1E2`, `100`},
	{`12345678901234567890`, `12345678901234567000`}, {`5e-324`, `5e-324`}, {`1e400`, `null`}, {`-1e400`, `null`},
	{`1` + strings.Repeat("0", 1000), `null`}, {`0`, ``}, {`-0`, ``}, {`0.00`, ``}, {`0e9`, ``}, {`1e-400`, ``},
	{`true`, `true`}, {`false`, ``}, {`null`, ``}, {``, ``}, {`""`, ``}, {`"\u0062ob's"`, `"bob's"`}, {`" "`, `" "`}, {`"0"`, `"0"`},
	{`{}`, `{}`}, {`[]`, `[]`}, {`{"id":"bob"}`, `{"id":"bob"}`}, {`["bob"]`, `["bob"]`}, {`[[[1, {"a" : [null]}]]]`, `[[[1,{"a":[null]}]]]`},
	{`"\ud800"`, `"\ud800"`}, {`"` + strings.Repeat("x", 5000) + `"`, `"` + strings.Repeat("x", 5000) + `"`},
	{`{"a":"` + strings.Repeat("x", 5000) + `"}`, `{"a":"` + strings.Repeat("x", 5000) + `"}`},
	{strings.Repeat("[", 500) + strings.Repeat("]", 500), strings.Repeat("[", 500) + strings.Repeat("]", 500)},
}

// sayTo sends a frame of this type, with dst unless it is "".
func sayTo(c *client, kind, dst string) {
	if dst != "" {
		dst = `,"dst":` + dst
	}
	c.Say(fmt.Sprintf(`{"type":%q%s,"payload":{"connectionId":"dc_1"}}`, kind, dst))
}

// A dst that is not a string names no peer. An OFFER, ANSWER or CANDIDATE to it expires
// like one to an absent peer, with the same value in src. LEAVE with a missing or falsy
// dst gives the id back. Nothing else is answered.
func TestDstWithoutPeer(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		// Peers whose ids look like these values get nothing.
		var strangers []*client
		for _, id := range []string{"1", "123", "true", "null", "bob", "[object Object]", "\ufffd", "1,2"} {
			strangers = append(strangers, s.open(id))
		}
		var held, leavers, mute []*client
		want := make(map[*client]string)
		for i, a := range addresses {
			for _, kind := range []string{"OFFER", "ANSWER", "CANDIDATE", "LEAVE", "EXPIRE", "HEARTBEAT", "OPEN", "offer"} {
				c := s.open(fmt.Sprint(kind, " ", i))
				sayTo(c, kind, a.dst)
				switch isHeld := kind == "OFFER" || kind == "ANSWER" || kind == "CANDIDATE"; {
				case kind == "LEAVE" && a.src == "":
					leavers = append(leavers, c)
				case isHeld && a.src != "":
					held = append(held, c)
					want[c] = fmt.Sprintf(`{"type":"EXPIRE","src":%s,"dst":%q}`, a.src, c.id)
				default:
					mute = append(mute, c)
				}
			}
		}
		s.wantElapsed(elapsed(func() {
			for _, c := range held {
				c.Want(want[c])
			}
		}), 5*time.Second, 5300*time.Millisecond)
		time.Sleep(10 * time.Second)
		for _, c := range slices.Concat(held, leavers, mute, strangers) {
			c.silent(time.Millisecond)
		}
		for _, c := range leavers {
			s.knock(c.id, "another").Want(`{"type":"OPEN"}`)
		}
		for _, c := range slices.Concat(held, mute) {
			s.knock(c.id, "another").Want(taken)
		}
	})
}

// Messages to one value expire together, those to different values separately, and none
// of them delays messages to a peer.
func TestSeveralDstsWithoutPeer(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		alice, bob := s.open("alice"), s.open("7")
		for range 3 {
			for _, dst := range []string{`7`, `7.0`, `"8"`, `8`, `["8"]`, `true`} {
				sayTo(alice, "CANDIDATE", dst)
			}
		}
		alice.offer("7", `"for the peer"`)
		bob.wantFrom("alice", "OFFER", `"for the peer"`)
		want := map[string]int{`7`: 1, `"8"`: 1, `8`: 1, `["8"]`: 1, `true`: 1}
		for range len(want) {
			var f struct{ Src json.RawMessage }
			if err := json.Unmarshal([]byte(alice.Hear()), &f); err != nil {
				t.Fatal(err)
			}
			want[string(f.Src)]--
		}
		for src, n := range want {
			if n != 0 {
				t.Errorf("EXPIRE from %s: %d are missing", src, n)
			}
		}
		alice.silent(time.Minute)
		bob.silent(time.Second)
	})
}

// Values that name no peer have the same bounds as absent peers.
func TestBoundsOfDstsWithoutPeer(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		alice := s.open("alice")
		for i := range 200 { // recipients
			sayTo(alice, "OFFER", fmt.Sprint(i+1))
		}
		if n := alice.expires(time.Second); n != 200-128 {
			t.Errorf("%d of 200 were too many", n)
		}
		if n := alice.expires(time.Minute); n != 128 {
			t.Errorf("%d expired later", n)
		}
		for i := range 10 { // bytes
			sayTo(alice, "OFFER", fmt.Sprintf(`{"a":"%s%d"}`, strings.Repeat("x", 200_000), i))
		}
		if n := alice.expires(time.Second); n != 10-5 {
			t.Errorf("%d of 10 long ones were too many", n)
		}
		if n := alice.expires(time.Minute); n != 5 {
			t.Errorf("%d expired later", n)
		}
	})
}

// The same over two servers that share a Redis, with fewer values.
func TestDstWithoutPeerOverTwoServers(t *testing.T) {
	t.Parallel()
	s := twoServers(t, inbox.Limits{}, peerjs.Config{}, 100*time.Millisecond)
	c := s.open("alice")
	var want []string
	for _, a := range addresses {
		if a.src != "" && !slices.Contains(want, a.src) {
			sayTo(c, "OFFER", a.dst)
			want = append(want, a.src)
		}
	}
	for _, src := range want { // the first one sent expires first
		c.Want(fmt.Sprintf(`{"type":"EXPIRE","src":%s,"dst":"alice"}`, src))
	}
}
