package storetest

import (
	"math"
	"time"

	"inbox"
)

var acknowledgeCases = []testCase{
	{name: "a cursor removes the messages up to and including it", run: func(h *harness) {
		opened := h.open("alice")
		h.send("bob", "alice", "1", "2", "3", "4", "5")
		h.wantBodies(h.look("alice", plus(opened, 1), all), "2", "3", "4", "5")
		h.wantBodies(h.look("alice", plus(opened, 4), all), "5")
		h.wantBodies(h.look("alice", start, all), "5")
		h.wantBodies(h.look("alice", plus(opened, 5), all))
		h.wantBodies(h.look("alice", start, all))
	}},

	{name: "the same request returns the same messages", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		after := h.look("alice", start, 1).Cursor
		for range 3 {
			h.wantBodies(h.look("alice", after, all), "2", "3")
		}
	}},

	{name: "an older cursor removes nothing", run: func(h *harness) {
		opened := h.open("alice")
		h.send("bob", "alice", "1", "2", "3", "4")
		h.look("alice", plus(opened, 3), 0)
		for seq := range 4 {
			b := h.look("alice", plus(opened, seq), all)
			h.wantBodies(b, "4")
			if b.Reset {
				h.Errorf("cursor %d of this life caused a reset", seq)
			}
		}
	}},

	{name: "the zero cursor removes nothing", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1")
		for range 3 {
			if b := h.look("alice", start, 0); b.Reset {
				h.Errorf("the zero cursor caused a reset")
			}
		}
		h.wantBodies(h.look("alice", start, all), "1")
	}},

	{name: "a limit of 0 acknowledges and returns nothing", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		h.wantBodies(h.look("alice", h.look("alice", start, 1).Cursor, 0))
		h.wantBodies(h.look("alice", start, all), "2")
	}},

	{name: "acknowledging a message makes room and keeps the others", limits: inbox.Limits{Messages: 4}, run: func(h *harness) {
		position := h.open("alice")
		h.send("bob", "alice", "0", "1", "2", "3")
		for i := range 40 {
			position = plus(position, 1)
			h.look("alice", position, 0)
			h.send("bob", "alice", string(rune('4'+i)))
			h.wantBodies(h.look("alice", start, all),
				string(rune('1'+i)), string(rune('2'+i)), string(rune('3'+i)), string(rune('4'+i)))
		}
	}},

	{name: "a cursor that was never issued is ErrBadCursor and changes nothing", timed: true, run: func(h *harness) {
		w := h.receiver("alice")
		opened := w.look(start, 0).Cursor
		h.send("bob", "alice", "1", "2")
		opening := time.Now()
		w.look(start, 0)

		h.until(opening, h.ttl/2)
		for _, seq := range []uint64{3, 4, 1 << 32, 1 << 63, math.MaxUint64} {
			after := inbox.Cursor{Life: opened.Life, Seq: seq}
			b, err := h.tryLook(peer("alice"), after, all)
			h.want(err, inbox.ErrBadCursor)
			if len(b.Messages) > 0 || b.Cursor != start {
				h.Errorf("the error was returned with %+v", b)
			}
			newer := h.receiver("alice")
			_, err = newer.tryLook(after, all)
			h.want(err, inbox.ErrBadCursor)
		}
		h.until(opening, h.almost())
		h.wantAlive("alice", true)
		h.wantBodies(w.look(start, all), "1", "2", "")
		opening = time.Now()

		h.until(opening, h.ttl/2)
		_, err := h.tryLook(peer("alice"), plus(opened, 4), all)
		h.want(err, inbox.ErrBadCursor)
		h.until(opening, h.past())
		h.wantAlive("alice", false)
	}},

	{name: "a cursor is invalid until its message exists", run: func(h *harness) {
		next := plus(h.open("alice"), 1)
		_, err := h.tryLook(peer("alice"), next, all)
		h.want(err, inbox.ErrBadCursor)
		h.send("bob", "alice", "1")
		h.wantBodies(h.look("alice", next, all))
	}},

	{name: "a cursor of an earlier life removes nothing and causes a reset", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		earlier := h.look("alice", start, all).Cursor
		h.close("alice")

		// The request that opens the next life reports the reset too.
		b := h.look("alice", earlier, all)
		h.wantBodies(b)
		if !b.Reset || b.Cursor.Life == earlier.Life || b.Cursor.Seq != 0 {
			h.Errorf("got %+v, want a reset and the start of another life", b)
		}
		h.send("bob", "alice", "4", "5", "6", "7")
		for range 2 {
			for seq := range uint64(9) {
				b = h.look("alice", inbox.Cursor{Life: earlier.Life, Seq: seq}, all)
				h.wantBodies(b, "4", "5", "6", "7")
				if !b.Reset {
					h.Errorf("cursor %d of an earlier life caused no reset", seq)
				}
			}
		}
		b = h.look("alice", b.Cursor, all)
		h.wantBodies(b)
		if b.Reset {
			h.Errorf("a cursor of this life caused a reset")
		}
	}},

	{name: "a cursor of another inbox belongs to another life", run: func(h *harness) {
		h.open("alice")
		h.open("bob")
		h.send("carol", "alice", "1", "2")
		h.send("carol", "bob", "3")
		b := h.look("bob", h.look("alice", start, all).Cursor, all)
		h.wantBodies(b, "3")
		if !b.Reset {
			h.Errorf("a cursor of another inbox caused no reset")
		}
	}},
}
