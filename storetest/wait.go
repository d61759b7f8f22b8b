package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"inbox"
)

var waitCases = []testCase{
	{name: "existing messages are returned immediately", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		begin := time.Now()
		h.wantBodies(h.receiver("alice").wait(start, all, h.long()).batch().Batch, "1", "2")
		h.wantInstant(begin)
	}},

	{name: "a send ends a wait", run: func(h *harness) {
		position := start
		for i := range 50 {
			w := h.receiver("alice").wait(position, all, h.long())
			sent := time.Now()
			h.send("bob", "alice", fmt.Sprint(i))
			o := w.batch()
			h.wantInstant(sent)
			h.wantBodies(o.Batch, fmt.Sprint(i))
			position = o.Cursor
		}
	}},

	{name: "a send that coincides with the first look ends the wait", run: func(h *harness) {
		position := h.open("alice")
		for i := range 200 {
			r := h.receiver("alice")
			var sending sync.WaitGroup
			sent := time.Now()
			sending.Go(func() {
				if _, err := h.trySend(peer("bob"), "alice", "", fmt.Sprint(i)); err != nil {
					h.Errorf("send: %v", err)
				}
			})
			b, err := r.receive(h.Context(), position, all, h.long())
			h.want(err, nil)
			h.wantInstant(sent)
			h.wantBodies(b, fmt.Sprint(i))
			position = b.Cursor
			sending.Wait()
		}
	}},

	{name: "a send to oneself ends the wait", run: func(h *harness) {
		w := h.receiver("alice").wait(start, all, h.long())
		h.send("alice", "alice", "note")
		h.wantBodies(w.batch().Batch, "note")
	}},

	{name: "messages the client was given before do not end a wait", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		r := h.receiver("alice")
		r.sent = r.look(start, all).Cursor
		w := r.wait(start, all, h.long())
		sent := time.Now()
		h.send("bob", "alice", "3")
		o := w.batch()
		h.wantInstant(sent)
		h.wantBodies(o.Batch, "1", "2", "3")

		// In another life the client has not been given anything yet.
		h.close("alice")
		h.open("alice")
		h.send("bob", "alice", "4")
		again := h.receiver("alice")
		again.sent = o.Cursor
		h.wantBodies(again.wait(start, all, h.long()).batch().Batch, "4")
	}},

	{name: "a replayed send wakes nobody", run: func(h *harness) {
		h.open("alice")
		h.sendKey("bob", "alice", "k", "hello")
		w := h.receiver("alice").wait(h.look("alice", start, all).Cursor, all, h.long())
		h.sendKey("bob", "alice", "k", "hello")
		_, err := h.trySend(stranger("bob"), "alice", "", "hello")
		h.want(err, inbox.ErrUnauthorized)
		time.Sleep(time.Second / 2) // for a wake that must not happen
		w.wantLooks(0)
	}},

	{name: "a lost wake delays a message by at most half a TTL", timed: true, run: func(h *harness) {
		r := h.receiver("alice")
		r.store = deaf{r.store}
		w := r.wait(start, all, h.long())
		begin := time.Now()
		h.until(begin, h.ttl/8)
		h.send("bob", "alice", "1")
		o := w.batch()
		h.wantBodies(o.Batch, "1")
		if d := o.at.Sub(begin); d > h.ttl*3/4+h.slack() {
			h.Errorf("it took %v", d)
		}
	}},

	{name: "a wait that times out returns the empty batch", timed: true, run: func(h *harness) {
		for _, wait := range []time.Duration{0, h.ttl / 4, h.ttl / 2, h.ttl, h.ttl * 5 / 4} {
			begin := time.Now()
			w := h.receiver("alice").wait(start, all, wait)
			o := w.batch()
			h.wantBodies(o.Batch)
			if d := o.at.Sub(begin); d < wait || d > wait+h.slack() {
				h.Errorf("a wait for %v took %v", wait, d)
			}
		}
	}},

	{name: "an inbox does not expire while its owner waits", timed: true, run: func(h *harness) {
		begin := time.Now()
		opened := h.open("alice")
		w := h.receiver("alice").wait(start, all, 3*h.ttl)
		h.until(begin, 5*h.ttl/2)
		h.send("bob", "alice", "1")
		b := w.batch()
		h.wantBodies(b.Batch, "1")
		if b.Cursor.Life != opened.Life {
			h.Errorf("the inbox expired meanwhile")
		}
	}},

	{name: "a reset ends a wait immediately", run: func(h *harness) {
		begin := time.Now()
		o := h.receiver("alice").wait(inbox.Cursor{Life: 7, Seq: 7}, all, h.long()).batch()
		h.wantInstant(begin)
		if !o.Reset {
			h.Errorf("got %+v, want a reset", o.Batch)
		}
	}},

	{name: "an error ends a wait immediately", run: func(h *harness) {
		opened := h.open("alice")
		begin := time.Now()
		h.receiver("alice").wait(plus(opened, 1), all, h.long()).wantEnd(inbox.ErrBadCursor)
		r := h.receiver("alice")
		r.p = stranger("alice")
		r.wait(start, all, h.long()).wantEnd(inbox.ErrUnauthorized)
		h.wantInstant(begin)
	}},

	{name: "a replaced receiver ends immediately and the newer one is woken", run: func(h *harness) {
		older := h.receiver("alice").wait(start, all, h.long())
		begin := time.Now()
		newer := h.receiver("alice").wait(start, all, h.long())
		older.wantEnd(inbox.ErrReplaced)
		h.send("bob", "alice", "1")
		h.wantBodies(newer.batch().Batch, "1")
		h.wantInstant(begin)
	}},

	{name: "closing an inbox ends its receiver immediately", run: func(h *harness) {
		w := h.receiver("alice").wait(start, all, h.long())
		begin := time.Now()
		h.close("alice")
		w.wantEnd(inbox.ErrClosed)
		h.wantInstant(begin)
		h.wantAlive("alice", false)
	}},

	{name: "a wait canceled while the inbox is closed does not reopen it", run: func(h *harness) {
		for range 50 {
			w := h.receiver("alice").wait(start, all, h.long())
			w.cancel()
			h.close("alice")
			if o := <-w.result; !errors.Is(o.err, inbox.ErrClosed) && !errors.Is(o.err, context.Canceled) {
				h.Fatalf("it ended with %v", o.err)
			}
			h.wantAlive("alice", false)
		}
	}},

	{name: "after a wait the inbox lives for a full TTL", timed: true, run: func(h *harness) {
		begin := time.Now()
		drain := make(chan struct{})
		over := h.receiver("over").wait(start, all, h.ttl*7/10)
		canceled := h.receiver("canceled").wait(start, all, h.long())
		drained := h.drained("drained", drain).wait(start, all, h.long())
		h.until(begin, h.ttl*7/10)
		canceled.cancel()
		close(drain)
		h.wantBodies(over.batch().Batch)
		canceled.wantEnd(context.Canceled)
		drained.wantEnd(inbox.ErrDraining)
		ended := time.Now()
		h.until(ended, h.almost())
		for _, id := range []string{"over", "canceled", "drained"} {
			h.wantAlive(id, true)
		}
		h.until(ended, h.past())
		for _, id := range []string{"over", "canceled", "drained"} {
			h.wantAlive(id, false)
		}
	}},

	{name: "a canceled wait loses nothing and replaces nobody", run: func(h *harness) {
		position := h.open("alice")
		for i := range 100 {
			older := h.receiver("alice").wait(position, all, h.long())
			body := fmt.Sprint(i)
			var both sync.WaitGroup
			both.Go(older.cancel)
			both.Go(func() {
				if _, err := h.trySend(peer("bob"), "alice", "", body); err != nil {
					h.Errorf("send: %v", err)
				}
			})
			newer := h.receiver("alice")
			b, err := newer.receive(h.Context(), position, all, h.long())
			h.want(err, nil)
			h.wantBodies(b, body)
			both.Wait()
			if o := <-older.result; o.err == nil {
				h.wantBodies(o.Batch, body)
			} else if !errors.Is(o.err, context.Canceled) && !errors.Is(o.err, inbox.ErrReplaced) {
				h.Fatalf("the canceled wait ended with %v", o.err)
			}
			newer.look(position, 0)
			position = b.Cursor
		}
	}},
}
