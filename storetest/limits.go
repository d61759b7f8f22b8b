package storetest

import (
	"fmt"
	"strings"
	"time"

	"inbox"
)

var limitCases = []testCase{
	{name: "an inbox limits the number of messages", limits: inbox.Limits{Messages: 3}, run: func(h *harness) {
		opened := h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		h.wantFull("bob", "alice", "")
		h.wantFull("alice", "alice", "")
		h.wantBodies(h.look("alice", start, all), "1", "2", "3")

		h.look("alice", plus(opened, 1), 0)
		h.send("bob", "alice", "4")
		h.wantFull("bob", "alice", "")
		h.look("alice", plus(opened, 4), 0)
		h.send("bob", "alice", "5", "6", "7")
		h.wantFull("bob", "alice", "")
		// A refused send uses no sequence number.
		b := h.look("alice", start, all)
		h.wantBodies(b, "5", "6", "7")
		if b.Cursor.Seq != 7 {
			h.Errorf("the seventh message has the number %d", b.Cursor.Seq)
		}
	}},

	{name: "an inbox limits the bytes of its messages", limits: inbox.Limits{Bytes: 10}, run: func(h *harness) {
		opened := h.open("alice")
		h.wantFull("bob", "alice", "12345678901")
		h.send("bob", "alice", "1234567")
		h.wantFull("bob", "alice", "1234")
		h.send("bob", "alice", "123")
		h.wantFull("bob", "alice", "1")
		h.send("bob", "alice", "", "")

		h.look("alice", plus(opened, 1), 0)
		h.wantFull("bob", "alice", "12345678")
		h.send("bob", "alice", "1234567")
		h.wantFull("bob", "alice", "1")
		h.look("alice", plus(opened, 5), 0)
		h.send("bob", "alice", "1234567890")
		h.wantBodies(h.look("alice", start, all), "1234567890")
	}},

	{name: "a full inbox does not affect others", limits: inbox.Limits{Messages: 1}, run: func(h *harness) {
		h.open("alice")
		h.open("bob")
		h.send("carol", "alice", "1")
		h.wantFull("carol", "alice", "2")
		h.send("carol", "bob", "1")
		h.send("alice", "carol", "1")
	}},

	{name: "a full inbox can be read and closed, and expires", timed: true, limits: inbox.Limits{Messages: 1}, run: func(h *harness) {
		for _, end := range []func(){
			func() { h.close("alice") },
			func() { h.until(time.Now(), h.past()) },
		} {
			h.open("alice")
			h.send("bob", "alice", "1")
			h.wantFull("bob", "alice", "2")
			h.wantBodies(h.look("alice", start, all), "1")
			end()
			h.wantAlive("alice", false)
		}
		h.open("alice")
		h.send("bob", "alice", "1")
	}},

	{name: "a send to a full inbox still opens the sender's inbox", limits: inbox.Limits{Messages: 1}, run: func(h *harness) {
		h.open("alice")
		h.send("alice", "alice", "1")
		h.wantFull("bob", "alice", "2")
		h.wantAlive("bob", true)
	}},

	{name: "a zero limit means its default", run: func(h *harness) {
		h.open("count")
		for i := range 100 {
			h.send("alice", "count", fmt.Sprint(i))
		}
		h.wantFull("alice", "count", "")

		h.open("bytes")
		for range 16 {
			h.send("alice", "bytes", strings.Repeat("x", 64<<10))
		}
		h.wantFull("alice", "bytes", "x")
		h.send("alice", "bytes", "")
	}},

	{name: "a server limits the number of inboxes", limits: inbox.Limits{Inboxes: 3}, run: func(h *harness) {
		h.open("alice")
		h.open("bob")
		h.send("carol", "bob", "1")
		for range 3 {
			_, err := h.tryLook(peer("dave"), start, all)
			h.want(err, inbox.ErrServerFull)
			_, err = h.trySend(peer("dave"), "bob", "k", "from dave")
			h.want(err, inbox.ErrServerFull)
			_, err = h.trySend(peer("dave"), "nobody", "", "")
			h.want(err, inbox.ErrServerFull)
			h.want(h.tryClose(peer("dave"), 0), nil)
		}
		_, err := h.tryLook(stranger("alice"), start, all)
		h.want(err, inbox.ErrUnauthorized)
		h.send("alice", "carol", "2")
		h.wantBodies(h.look("bob", start, all), "1")
		h.wantBodies(h.look("carol", start, all), "2")

		h.close("carol")
		h.send("dave", "alice", "3")
		_, err = h.tryLook(peer("carol"), start, all)
		h.want(err, inbox.ErrServerFull)
	}},

	{name: "an expired inbox makes room for another immediately", timed: true, limits: inbox.Limits{Inboxes: 3}, run: func(h *harness) {
		h.open("alice")
		opened := time.Now()
		h.until(opened, h.ttl/2)
		h.open("bob")
		h.open("carol")
		h.until(opened, h.almost())
		_, err := h.tryLook(peer("dave"), start, all)
		h.want(err, inbox.ErrServerFull)
		h.until(opened, h.past())
		h.send("dave", "bob", "1")
		_, err = h.tryLook(peer("alice"), start, all)
		h.want(err, inbox.ErrServerFull)
	}},

	{name: "opening and closing inboxes uses up no room", limits: inbox.Limits{Inboxes: 2}, run: func(h *harness) {
		h.open("alice")
		for i := range 20 {
			id := fmt.Sprint(i)
			h.open(id)
			h.open(id)
			h.send(id, "alice", "")
			h.close(id)
			h.close(id)
		}
		h.open("bob")
		_, err := h.tryLook(peer("carol"), start, all)
		h.want(err, inbox.ErrServerFull)
	}},
}

// wantFull sends a message and expects ErrFull.
func (h *harness) wantFull(from, to, body string) {
	h.Helper()
	_, err := h.trySend(peer(from), to, "", body)
	h.want(err, inbox.ErrFull)
}
