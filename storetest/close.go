package storetest

import (
	"time"

	"inbox"
)

var closeCases = []testCase{
	{name: "a closed inbox is gone immediately, with its messages", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		old := h.look("alice", start, all).Cursor
		h.close("alice")
		h.wantAlive("alice", false)

		b := h.look("alice", old, all)
		h.wantBodies(b)
		if !b.Reset || b.Cursor.Life == old.Life || b.Cursor.Seq != 0 {
			h.Errorf("got %+v, want a reset and the start of another life", b)
		}
	}},

	{name: "a close of another life spares the inbox", run: func(h *harness) {
		old := h.open("alice")
		h.close("alice")
		r := h.receiver("alice")
		opened := r.look(start, 0).Cursor
		h.send("bob", "alice", "1")
		h.want(h.tryClose(peer("alice"), old.Life), nil)
		h.wantBodies(r.look(start, all), "1")
		h.want(h.tryClose(stranger("alice"), old.Life), inbox.ErrUnauthorized)

		h.want(h.tryClose(peer("alice"), opened.Life), nil)
		_, err := r.tryLook(start, all)
		h.want(err, inbox.ErrClosed)
		h.wantAlive("alice", false)
		h.want(h.tryClose(peer("alice"), opened.Life), nil)
	}},

	{name: "a wrong password is ErrUnauthorized and closes nothing", run: func(h *harness) {
		r := h.receiver("alice")
		r.look(start, all)
		h.send("bob", "alice", "1")
		h.want(h.tryClose(stranger("alice"), 0), inbox.ErrUnauthorized)
		h.wantBodies(r.look(start, all), "1")
	}},

	{name: "closing an inbox that does not exist succeeds", timed: true, run: func(h *harness) {
		h.close("alice")
		h.wantAlive("alice", false)
		h.open("alice")
		h.close("alice")
		h.close("alice")
		h.want(h.tryClose(stranger("alice"), 0), nil)

		h.open("alice")
		h.until(time.Now(), h.past())
		h.want(h.tryClose(stranger("alice"), 0), nil)
		h.wantAlive("alice", false)
	}},

	{name: "the id of a closed inbox is free", run: func(h *harness) {
		h.open("alice")
		h.close("alice")
		_, err := h.tryLook(stranger("alice"), start, all)
		h.want(err, nil)
		_, err = h.tryLook(peer("alice"), start, all)
		h.want(err, inbox.ErrUnauthorized)
	}},

	{name: "the expiry of a closed inbox does not affect its next life", timed: true, run: func(h *harness) {
		h.open("alice")
		opened := time.Now()
		h.until(opened, h.ttl/2)
		h.close("alice")
		h.open("alice")
		reopened := time.Now()
		h.until(opened, h.past())
		h.wantAlive("alice", true)
		h.wantTTL("alice", reopened)
	}},

	{name: "closing ends the receiver with ErrClosed", run: func(h *harness) {
		r := h.receiver("alice")
		r.look(start, 0)
		h.close("alice")
		for range 2 {
			_, err := r.tryLook(start, all)
			h.want(err, inbox.ErrClosed)
		}
		h.wantAlive("alice", false)

		// Opening the next life does not revive it.
		newer := h.receiver("alice")
		newer.look(start, 0)
		_, err := r.tryLook(start, all)
		h.want(err, inbox.ErrClosed)
		newer.look(start, 0)
	}},

	{name: "after a close a replaced receiver still gets ErrReplaced", run: func(h *harness) {
		older, newer := h.receiver("alice"), h.receiver("alice")
		older.look(start, 0)
		newer.look(start, 0)
		h.close("alice")
		_, err := older.tryLook(start, all)
		h.want(err, inbox.ErrReplaced)
		_, err = newer.tryLook(start, all)
		h.want(err, inbox.ErrClosed)
	}},
}
