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
		h.wantBodies(h.ask("alice", plus(opened, 1), all), "2", "3", "4", "5")
		h.wantBodies(h.ask("alice", plus(opened, 4), all), "5")
		h.wantBodies(h.ask("alice", start, all), "5")
		h.wantBodies(h.ask("alice", plus(opened, 5), all))
		h.wantBodies(h.ask("alice", start, all))
	}},

	{name: "the same request returns the same messages", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		after := h.ask("alice", start, 1).Cursor
		for range 3 {
			h.wantBodies(h.ask("alice", after, all), "2", "3")
		}
	}},

	{name: "an older cursor removes nothing", run: func(h *harness) {
		opened := h.open("alice")
		h.send("bob", "alice", "1", "2", "3", "4")
		h.ask("alice", plus(opened, 3), 0)
		for seq := range 4 {
			b := h.ask("alice", plus(opened, seq), all)
			h.wantBodies(b, "4")
			if b.Reset {
				h.Errorf("the cursor %d of this life was called one of another", seq)
			}
		}
	}},

	{name: "the zero cursor removes nothing", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1")
		for range 3 {
			if b := h.ask("alice", start, 0); b.Reset {
				h.Errorf("the zero cursor was called one of another life")
			}
		}
		h.wantBodies(h.ask("alice", start, all), "1")
	}},

	{name: "a limit of 0 acknowledges and returns nothing", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		h.wantBodies(h.ask("alice", h.ask("alice", start, 1).Cursor, 0))
		h.wantBodies(h.ask("alice", start, all), "2")
	}},

	{name: "an acknowledged message makes room and the others stay", limits: inbox.Limits{Messages: 4}, run: func(h *harness) {
		position := h.open("alice")
		h.send("bob", "alice", "0", "1", "2", "3")
		for i := range 40 {
			position = plus(position, 1)
			h.ask("alice", position, 0)
			h.send("bob", "alice", string(rune('4'+i)))
			h.wantBodies(h.ask("alice", start, all),
				string(rune('1'+i)), string(rune('2'+i)), string(rune('3'+i)), string(rune('4'+i)))
		}
	}},

	{name: "a cursor that was never given out is ErrBadCursor and nothing happens", timed: true, run: func(h *harness) {
		w := h.receiver("alice")
		opened := w.look(start, 0).Cursor
		h.send("bob", "alice", "1", "2")
		opening := time.Now()
		w.look(start, 0)

		h.until(opening, h.ttl/2)
		for _, seq := range []uint64{3, 4, 1 << 32, 1 << 63, math.MaxUint64} {
			after := inbox.Cursor{Life: opened.Life, Seq: seq}
			b, err := h.tryAsk(peer("alice"), after, all)
			h.want(err, inbox.ErrBadCursor)
			if len(b.Messages) > 0 || b.Cursor != start {
				h.Errorf("the error came with %+v", b)
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
		_, err := h.tryAsk(peer("alice"), plus(opened, 4), all)
		h.want(err, inbox.ErrBadCursor)
		h.until(opening, h.past())
		h.wantAlive("alice", false)
	}},

	{name: "a cursor is bad before its message is there and good afterwards", run: func(h *harness) {
		next := plus(h.open("alice"), 1)
		_, err := h.tryAsk(peer("alice"), next, all)
		h.want(err, inbox.ErrBadCursor)
		h.send("bob", "alice", "1")
		h.wantBodies(h.ask("alice", next, all))
	}},

	{name: "a cursor of an earlier life removes nothing and is answered with a reset", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		earlier := h.ask("alice", start, all).Cursor
		h.close("alice")

		// Also the request that opens the next life is told.
		b := h.ask("alice", earlier, all)
		h.wantBodies(b)
		if !b.Reset || b.Cursor.Life == earlier.Life || b.Cursor.Seq != 0 {
			h.Errorf("got %+v, want a reset and the start of another life", b)
		}
		h.send("bob", "alice", "4", "5", "6", "7")
		for range 2 {
			for seq := range uint64(9) {
				b = h.ask("alice", inbox.Cursor{Life: earlier.Life, Seq: seq}, all)
				h.wantBodies(b, "4", "5", "6", "7")
				if !b.Reset {
					h.Errorf("an earlier life's cursor %d came without a reset", seq)
				}
			}
		}
		b = h.ask("alice", b.Cursor, all)
		h.wantBodies(b)
		if b.Reset {
			h.Errorf("this life's cursor was answered with a reset")
		}
	}},

	{name: "a cursor of another inbox is one of another life", run: func(h *harness) {
		h.open("alice")
		h.open("bob")
		h.send("carol", "alice", "1", "2")
		h.send("carol", "bob", "3")
		b := h.ask("bob", h.ask("alice", start, all).Cursor, all)
		h.wantBodies(b, "3")
		if !b.Reset {
			h.Errorf("another inbox's cursor came without a reset")
		}
	}},
}
