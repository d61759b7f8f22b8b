package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"inbox"
)

var expireCases = []testCase{
	{name: "an inbox expires a TTL after its owner last looked", timed: true, run: func(h *harness) {
		h.open("alice")
		looked := time.Now()
		for range 4 {
			h.until(looked, h.almost())
			h.wantAlive("alice", true)
			h.look("alice", start, 0)
			looked = time.Now()
		}
		h.until(looked, h.past())
		h.wantAlive("alice", false)
	}},

	{name: "every successful look restarts the expiry", timed: true, run: func(h *harness) {
		life := h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		for _, look := range []struct {
			after inbox.Cursor
			limit int
		}{
			{start, 0}, {start, 1}, {plus(life, 1), 0}, {plus(life, 1), all}, {plus(life, 3), all},
			{inbox.Cursor{Life: life.Life ^ 1, Seq: 1}, all},
		} {
			b := h.look("alice", look.after, look.limit)
			looked := time.Now()
			if b.Cursor.Life != life.Life {
				h.Fatalf("the inbox expired before %+v", look)
			}
			h.until(looked, h.almost())
		}
		h.wantAlive("alice", true)
	}},

	{name: "other peers and other operations do not restart the expiry", timed: true, run: nothingElseRestartsIt},

	{name: "an expired inbox is gone with its messages", timed: true, run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		old := h.look("alice", start, all).Cursor
		h.until(time.Now(), h.past())

		b := h.look("alice", start, all)
		h.wantBodies(b)
		if b.Cursor.Life == old.Life || b.Cursor.Seq != 0 || b.Reset {
			h.Errorf("got %+v, want the start of another life", b)
		}
		h.send("bob", "alice", "3")
		b = h.look("alice", old, all)
		h.wantBodies(b, "3")
		if !b.Reset {
			h.Errorf("a cursor of the earlier life caused no reset")
		}
	}},

	{name: "the id of an expired inbox is free", timed: true, run: func(h *harness) {
		open := map[string]func(p inbox.Peer) error{
			"receive": func(p inbox.Peer) error {
				_, err := h.tryLook(p, start, all)
				return err
			},
			"send": func(p inbox.Peer) error {
				_, err := h.trySend(p, p.ID, "", "hello")
				return err
			},
		}
		for id := range open {
			h.open(id)
		}
		opened := time.Now()
		h.until(opened, h.almost())
		for id, as := range open {
			h.want(as(stranger(id)), inbox.ErrUnauthorized)
		}
		h.until(opened, h.past())
		for id, as := range open {
			h.want(as(stranger(id)), nil)
			h.want(as(peer(id)), inbox.ErrUnauthorized)
		}
	}},

	{name: "an inbox opened by a send expires", timed: true, run: func(h *harness) {
		h.open("bob")
		h.send("alice", "bob", "1")
		sent := time.Now()
		h.wantTTL("alice", sent)
	}},

	{name: "each inbox expires at its own time", timed: true, run: func(h *harness) {
		h.open("early")
		h.open("late")
		opened := time.Now()
		h.until(opened, h.ttl/2)
		h.open("middle")
		h.look("late", start, 0)
		middle := time.Now()
		h.until(middle, h.ttl/4)
		h.look("late", start, 0)
		late := time.Now()

		for _, step := range []struct {
			since time.Time
			gone  string
		}{{opened, "early"}, {middle, "middle"}, {late, "late"}} {
			h.wantTTL(step.gone, step.since)
		}
	}},

	{name: "a thousand inboxes expire together", timed: true, run: func(h *harness) {
		const n = 1000
		first := time.Now()
		h.crowd(n, func(i int) { h.open(fmt.Sprint(i)) })
		last := time.Now()
		if last.Sub(first) < h.ttl/2 { // otherwise a slow store has lost the first ones
			h.until(first, h.almost())
			h.wantAlive("0", true)
		}
		h.until(last, h.past())
		h.crowd(n, func(i int) { h.wantAlive(fmt.Sprint(i), false) })
	}},
}

// nothingElseRestartsIt tries every sequence of three operations that must not restart
// the expiry, each on a separate inbox. In real time it tries a random selection,
// because all sequences have to finish within a TTL.
func nothingElseRestartsIt(h *harness) {
	h.open("nosy")
	type fate struct {
		id   string
		life inbox.Cursor
		plan [3]int
	}
	happen := []func(f *fate) error{
		func(f *fate) error {
			_, err := h.trySend(stranger(f.id), "nosy", "", "")
			return wantError(err, inbox.ErrUnauthorized)
		},
		func(f *fate) error {
			_, err := h.tryLook(stranger(f.id), start, all)
			return wantError(err, inbox.ErrUnauthorized)
		},
		func(f *fate) error {
			return wantError(h.tryClose(stranger(f.id), 0), inbox.ErrUnauthorized)
		},
		func(f *fate) error {
			_, err := h.tryLook(peer(f.id), plus(f.life, all), all)
			return wantError(err, inbox.ErrBadCursor)
		},
		func(f *fate) error {
			_, err := h.trySend(peer("nosy"), f.id, "k", "hello")
			return err
		},
		func(f *fate) error {
			_, err := h.trySend(peer(f.id), "nobody", "", "hello")
			return wantError(err, inbox.ErrNoInbox)
		},
	}
	var fates []*fate
	n := len(happen)
	for i := range n * n * n {
		if h.cfg.Bubble || rand.IntN(n) == 0 {
			plan := [3]int{i / n / n, i / n % n, i % n}
			fates = append(fates, &fate{id: fmt.Sprint("opened, then ", plan), plan: plan})
		}
	}
	each := func(do func(f *fate)) { h.crowd(len(fates), func(i int) { do(fates[i]) }) }
	first := time.Now()
	each(func(f *fate) { f.life = h.open(f.id) })
	last := time.Now()
	for step := range 3 {
		h.until(first, h.ttl*time.Duration(step+1)/4)
		each(func(f *fate) {
			if err := happen[f.plan[step]](f); err != nil {
				h.Errorf("%s, step %d: %v", f.id, step, err)
			}
		})
	}
	h.until(first, h.almost())
	each(func(f *fate) { h.wantAlive(f.id, true) })
	h.until(last, h.past())
	each(func(f *fate) { h.wantAlive(f.id, false) })
}

func wantError(err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("got the error %v, want %v", err, want)
	}
	return nil
}
