package storetest

import (
	"context"
	"time"

	"inbox"
)

// A receiver is a waker and the store that it stays at.
type receiver struct {
	*inbox.Waker
	h        *harness
	p        inbox.Peer
	store    inbox.Store
	draining <-chan struct{}
	sent     inbox.Cursor // the last message its client was given
}

func (h *harness) receiver(id string) *receiver { return h.drained(id, nil) }

// drained returns a receiver that ends when draining is closed.
func (h *harness) drained(id string, draining <-chan struct{}) *receiver {
	return &receiver{Waker: inbox.NewWaker(nil), h: h, p: peer(id), store: h.store(), draining: draining}
}

// look looks as the inbox's receiver.
func (r *receiver) look(after inbox.Cursor, limit int) inbox.Batch {
	r.h.Helper()
	b, err := r.tryLook(after, limit)
	if err != nil {
		r.h.Fatalf("look at %q: %v", r.p.ID, err)
	}
	return b
}

func (r *receiver) tryLook(after inbox.Cursor, limit int) (inbox.Batch, error) {
	return r.store.Look(r.h.Context(), r.p, after, limit, r.Waker)
}

// receive looks and waits until there is something new.
func (r *receiver) receive(ctx context.Context, after inbox.Cursor, limit int, wait time.Duration) (inbox.Batch, error) {
	return r.receiveAt(ctx, r.store, after, limit, wait)
}

func (r *receiver) receiveAt(ctx context.Context, store inbox.Store, after inbox.Cursor, limit int, wait time.Duration) (inbox.Batch, error) {
	s := inbox.NewSession(store, r.p, after, limit, r.Waker, r.draining)
	s.Sent(r.sent)
	return s.Receive(ctx, wait)
}

// leave ends the receiver's stay.
func (r *receiver) leave(upTo inbox.Cursor) {
	r.h.Helper()
	r.h.want(r.store.Leave(r.h.Context(), r.p, upTo, r.Waker), nil)
}

var receiverCases = []testCase{
	{name: "a receiver gets the same batches as a look without one", run: func(h *harness) {
		r := h.receiver("alice")
		h.wantBodies(r.look(start, all))
		h.send("bob", "alice", "1", "2")
		b := r.look(start, 1)
		h.wantBodies(b, "1")
		h.wantBodies(r.look(b.Cursor, all), "2")
		h.wantBodies(h.look("alice", start, all), "2")
	}},

	{name: "the newest receiver wins and the replaced one changes nothing", timed: true, run: func(h *harness) {
		older, newer := h.receiver("alice"), h.receiver("alice")
		older.look(start, 0)
		h.send("bob", "alice", "1", "2")
		b := newer.look(start, all)
		looked := time.Now()

		h.until(looked, h.ttl/2)
		for _, after := range []inbox.Cursor{start, b.Cursor, plus(b.Cursor, 1)} {
			got, err := older.tryLook(after, all)
			h.want(err, inbox.ErrReplaced)
			if len(got.Messages) > 0 {
				h.Errorf("the replaced receiver got %d messages", len(got.Messages))
			}
		}
		h.wantTTL("alice", looked)
	}},

	{name: "a replaced receiver does not steal back", run: func(h *harness) {
		older, newer := h.receiver("alice"), h.receiver("alice")
		older.look(start, 0)
		newer.look(start, 0)
		for range 5 {
			_, err := older.tryLook(start, all)
			h.want(err, inbox.ErrReplaced)
			newer.look(start, 0)
		}
		h.send("bob", "alice", "1")
		h.wantBodies(newer.look(start, all), "1")
	}},

	{name: "the last of many receivers stays", run: func(h *harness) {
		var receivers []*receiver
		for range 20 {
			r := h.receiver("alice")
			r.look(start, 0)
			receivers = append(receivers, r)
		}
		last := len(receivers) - 1
		for _, r := range receivers[:last] {
			_, err := r.tryLook(start, all)
			h.want(err, inbox.ErrReplaced)
		}
		receivers[last].look(start, all)
	}},

	{name: "a look without a receiver replaces nobody", run: func(h *harness) {
		r := h.receiver("alice")
		r.look(start, 0)
		h.look("alice", start, 0)
		h.look("alice", start, all)
		h.send("alice", "alice", "1")
		h.wantBodies(r.look(start, all), "1")
	}},

	{name: "a refused receiver replaces nobody and may try again", run: func(h *harness) {
		r := h.receiver("alice")
		opened := r.look(start, 0).Cursor
		newer := h.receiver("alice")

		newer.p = stranger("alice")
		_, err := newer.tryLook(start, all)
		h.want(err, inbox.ErrUnauthorized)
		r.look(start, 0)

		newer.p = peer("alice")
		_, err = newer.tryLook(plus(opened, 1), all)
		h.want(err, inbox.ErrBadCursor)
		r.look(start, 0)

		newer.look(start, 0)
		_, err = r.tryLook(start, 0)
		h.want(err, inbox.ErrReplaced)
	}},

	{name: "a send wakes a receiver, and so does the end of its stay", run: func(h *harness) {
		woken := make(chan struct{}, 100)
		// attach returns a new receiver and discards the wakes so far.
		attach := func() *receiver {
			r := h.receiver("alice")
			r.Waker = inbox.NewWaker(func() { woken <- struct{}{} })
			r.look(start, 0)
			for len(woken) > 0 {
				<-woken
			}
			return r
		}
		for _, c := range []struct {
			name string
			wake func()
			want error
		}{
			{"send", func() { h.send("bob", "alice", "1") }, nil},
			{"send with key", func() { h.sendKey("bob", "alice", "k", "1") }, nil},
			{"send to itself", func() { h.send("alice", "alice", "1") }, nil},
			{"newer receiver", func() { h.receiver("alice").look(start, 0) }, inbox.ErrReplaced},
			{"close", func() { h.close("alice") }, inbox.ErrClosed},
		} {
			r := attach()
			begin := time.Now()
			c.wake()
			select {
			case <-woken:
				h.wantInstant(begin)
			case <-time.After(soon):
				h.Errorf("%s: the receiver was not woken", c.name)
			}
			_, err := r.tryLook(start, 0)
			h.want(err, c.want)
		}
	}},

	{name: "receivers of different inboxes are independent", run: func(h *harness) {
		alice, bob := h.receiver("alice"), h.receiver("bob")
		alice.look(start, 0)
		bob.look(start, 0)
		h.close("bob")
		alice.look(start, 0)
		h.receiver("bob").look(start, 0)
		alice.look(start, 0)
	}},

	{name: "a receiver whose inbox expired opens the next life", timed: true, run: func(h *harness) {
		r := h.receiver("alice")
		old := r.look(start, 0).Cursor
		h.until(time.Now(), h.past())
		h.wantAlive("alice", false)
		b := r.look(start, 0)
		if b.Cursor.Life == old.Life || b.Reset {
			h.Errorf("got %+v, want the start of another life", b)
		}
		newer := h.receiver("alice")
		newer.look(start, 0)
		_, err := r.tryLook(start, 0)
		h.want(err, inbox.ErrReplaced)
	}},
}
