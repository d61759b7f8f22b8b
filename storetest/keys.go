package storetest

import (
	"fmt"
	"time"

	"inbox"
)

var keyCases = []testCase{
	{name: "a repeated send with a key appends nothing", run: func(h *harness) {
		h.open("bob")
		for i := range 5 {
			if replayed := h.sendKey("alice", "bob", "k", "hello"); replayed != (i > 0) {
				h.Errorf("send %d: replayed is %v", i, replayed)
			}
		}
		h.wantBodies(h.look("bob", start, all), "hello")
	}},

	{name: "without a key each send appends a message", run: func(h *harness) {
		h.open("bob")
		h.send("alice", "bob", "hello", "hello")
		h.sendKey("alice", "bob", "k", "hello")
		h.send("alice", "bob", "hello")
		h.wantBodies(h.look("bob", start, all), "hello", "hello", "hello", "hello")
	}},

	{name: "a different sender, recipient, key or body is a different message", run: func(h *harness) {
		h.open("bob")
		h.open("carol")
		sends := []struct{ from, to, key, body string }{
			{"alice", "bob", "k", "hello"},
			{"alice", "bob", "k", "hello!"},
			{"alice", "bob", "k", ""},
			{"alice", "bob", "K", "hello"},
			{"dave", "bob", "k", "hello"},
			{"clara", "bob", "k", "hello"},
			{"bob", "bob", "k", "hello"},
			{"alice", "carol", "k", "hello"},
			// The same concatenation, split differently.
			{"alice", "bob", "kh", "ello"},
			{"alice", "bob", "khello", ""},
			{"alicek", "bob", "h", "ello"},
			{"alic", "bob", "ek", "hello"},
		}
		for _, replayed := range []bool{false, true} {
			for _, s := range sends {
				if got := h.sendKey(s.from, s.to, s.key, s.body); got != replayed {
					h.Errorf("%+v: replayed is %v, want %v", s, got, replayed)
				}
			}
		}
		if got := len(h.look("bob", start, all).Messages); got != len(sends)-1 {
			h.Errorf("bob has %d messages, want %d", got, len(sends)-1)
		}
		h.wantBodies(h.look("carol", start, all), "hello")
	}},

	{name: "a key is remembered after its message was acknowledged", run: func(h *harness) {
		h.open("bob")
		h.sendKey("alice", "bob", "k", "hello")
		h.look("bob", h.look("bob", start, all).Cursor, 0)
		if !h.sendKey("alice", "bob", "k", "hello") {
			h.Errorf("the send was not replayed")
		}
		h.wantBodies(h.look("bob", start, all))
	}},

	{name: "a repeated send succeeds even if the inbox is full", limits: inbox.Limits{Messages: 2, Bytes: 10}, run: func(h *harness) {
		h.open("bob")
		h.sendKey("alice", "bob", "k", "01234")
		h.sendKey("alice", "bob", "l", "01234")
		_, err := h.trySend(peer("alice"), "bob", "m", "")
		h.want(err, inbox.ErrFull)
		if !h.sendKey("alice", "bob", "k", "01234") {
			h.Errorf("the send was not replayed")
		}
		h.wantBodies(h.look("bob", start, all), "01234", "01234")
	}},

	{name: "a failed send does not use up its key", limits: inbox.Limits{Messages: 1}, run: func(h *harness) {
		_, err := h.trySend(peer("alice"), "bob", "k", "second")
		h.want(err, inbox.ErrNoInbox)
		h.open("bob")
		h.send("alice", "bob", "first")
		for range 3 {
			_, err := h.trySend(peer("alice"), "bob", "k", "second")
			h.want(err, inbox.ErrFull)
		}
		_, err = h.trySend(stranger("alice"), "bob", "k", "second")
		h.want(err, inbox.ErrUnauthorized)
		h.look("bob", h.look("bob", start, 1).Cursor, 0)
		if h.sendKey("alice", "bob", "k", "second") {
			h.Errorf("a send that had failed reported replayed")
		}
		h.wantBodies(h.look("bob", start, all), "second")
	}},

	{name: "a replay is not revealed to a stranger", run: func(h *harness) {
		h.open("bob")
		h.sendKey("alice", "bob", "k", "hello")
		replayed, err := h.trySend(stranger("alice"), "bob", "k", "hello")
		h.want(err, inbox.ErrUnauthorized)
		if replayed {
			h.Errorf("the send was replayed")
		}
	}},

	{name: "the last 1024 keys are remembered", limits: inbox.Limits{Messages: 3 * inbox.KeysRemembered}, run: func(h *harness) {
		h.open("bob")
		send := func(i int) (replayed bool) { return h.sendKey("alice", "bob", fmt.Sprintf("k%d", i), "hello") }
		want := func(first, n int, replayed bool) {
			h.crowd(n, func(i int) {
				if send(first+i) != replayed {
					h.Errorf("send %d: replayed is %v", first+i, !replayed)
				}
			})
		}
		for i := range 4 { // the oldest ones, in this order
			want(i, 1, false)
		}
		want(4, inbox.KeysRemembered-4, false)
		// Sends without a key and replays evict no key.
		for range 3 {
			h.send("alice", "bob", "hello")
		}
		want(0, inbox.KeysRemembered, true)
		// A new key evicts the oldest, then the second oldest, and so on.
		want(inbox.KeysRemembered, 1, false)
		want(1, inbox.KeysRemembered, true)
		if send(0) {
			h.Errorf("the oldest key was still known")
		}
		if send(1) || !send(3) {
			h.Errorf("a forgotten key did not evict the oldest one when it was used again")
		}
	}},

	{name: "keys are forgotten when the inbox expires", timed: true, run: func(h *harness) {
		h.open("bob")
		h.sendKey("alice", "bob", "k", "hello")
		h.until(time.Now(), h.past())
		h.wantKeyForgotten()
	}},

	{name: "keys are forgotten when the inbox is closed", run: func(h *harness) {
		h.open("bob")
		h.sendKey("alice", "bob", "k", "hello")
		h.close("bob")
		_, err := h.trySend(peer("alice"), "bob", "k", "hello")
		h.want(err, inbox.ErrNoInbox)
		h.wantKeyForgotten()
	}},

	{name: "keys belong to the recipient and outlive the sender", run: func(h *harness) {
		h.open("bob")
		h.sendKey("alice", "bob", "k", "hello")
		h.close("alice")
		if !h.sendKey("alice", "bob", "k", "hello") {
			h.Errorf("the send was not replayed")
		}
		h.wantBodies(h.look("bob", start, all), "hello")
	}},
}

// wantKeyForgotten opens Bob's inbox again and checks that a send with an earlier key is a
// new message.
func (h *harness) wantKeyForgotten() {
	h.Helper()
	h.open("bob")
	if h.sendKey("alice", "bob", "k", "hello") {
		h.Errorf("a send to another life reported replayed")
	}
	h.wantBodies(h.look("bob", start, all), "hello")
}
