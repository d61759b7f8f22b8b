package storetest

import (
	"time"

	"inbox"
)

var leaveCases = []testCase{
	{name: "a leaving receiver acknowledges, and its inbox lives for a full TTL", timed: true, run: func(h *harness) {
		begin := time.Now()
		r := h.receiver("alice")
		r.look(start, 0)
		h.send("bob", "alice", "1", "2")
		b := r.look(start, 1)
		h.until(begin, h.ttl/2)
		r.leave(b.Cursor)
		left := time.Now()
		h.wantTTL("alice", left)
	}},

	{name: "messages acknowledged by a leaving receiver do not come back", run: func(h *harness) {
		r := h.receiver("alice")
		r.look(start, 0)
		h.send("bob", "alice", "1", "2", "3")
		b := r.look(start, 2)
		r.leave(b.Cursor)
		h.wantBodies(h.look("alice", start, all), "3")
	}},

	{name: "a receiver that has left is neither woken nor replaced", run: func(h *harness) {
		wakes := make(chan struct{}, 100)
		r := h.receiver("alice")
		r.Waker = inbox.NewWaker(func() { wakes <- struct{}{} })
		r.look(start, 0)
		r.leave(start)
		h.send("bob", "alice", "1")
		newer := h.receiver("alice")
		h.wantBodies(newer.look(start, all), "1")
		time.Sleep(time.Second / 2) // for a wake that must not happen
		if len(wakes) > 0 {
			h.Errorf("a receiver that has left was woken %d times", len(wakes))
		}
		h.want(r.Err(), nil)
	}},

	{name: "a replaced receiver changes nothing when it leaves", timed: true, run: func(h *harness) {
		older, newer := h.receiver("alice"), h.receiver("alice")
		older.look(start, 0)
		h.send("bob", "alice", "1")
		b := older.look(start, all)
		newer.look(start, 0)
		looked := time.Now()
		h.until(looked, h.ttl/2)
		older.leave(b.Cursor)
		h.wantBodies(newer.look(start, all), "1")
	}},

	{name: "a leaving receiver opens no inbox", timed: true, run: func(h *harness) {
		closed, expired, never := h.receiver("closed"), h.receiver("expired"), h.receiver("never")
		closed.look(start, 0)
		h.close("closed")
		closed.leave(start)
		never.leave(start)
		expired.look(start, 0)
		h.until(time.Now(), h.past())
		expired.leave(start)
		for _, id := range []string{"closed", "never", "expired"} {
			h.wantAlive(id, false)
		}
	}},

	{name: "an acknowledgement on behalf of a replaced receiver changes nothing", run: func(h *harness) {
		older, newer := h.receiver("alice"), h.receiver("alice")
		older.look(start, 0)
		h.send("bob", "alice", "1")
		b := older.look(start, all)
		newer.look(start, 0)
		got, err := older.store.Acknowledge(h.Context(), older.p, b.Cursor, older.Waker)
		h.want(err, inbox.ErrReplaced)
		if got.Cursor != start {
			h.Errorf("a replaced receiver got the position %v", got.Cursor)
		}
		h.wantBodies(newer.look(start, all), "1")
	}},

	{name: "an acknowledgement does not attach its receiver", run: func(h *harness) {
		r, other := h.receiver("alice"), h.receiver("alice")
		r.look(start, 0)
		h.send("bob", "alice", "1")
		b := r.look(start, all)
		_, err := other.store.Acknowledge(h.Context(), other.p, b.Cursor, other.Waker)
		h.want(err, nil)
		h.wantBodies(r.look(start, all))
	}},
}
