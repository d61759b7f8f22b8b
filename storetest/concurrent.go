package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"inbox"
)

var concurrentCases = []testCase{
	{name: "concurrent first looks with two passwords: one password wins", run: func(h *harness) {
		h.firstWins(func(p inbox.Peer) (inbox.Batch, error) { return h.tryLook(p, start, 0) })
	}},

	{name: "concurrent first sends with two passwords: one password wins", limits: inbox.Limits{Messages: 1000}, run: func(h *harness) {
		h.open("bob")
		h.firstWins(func(p inbox.Peer) (inbox.Batch, error) {
			_, err := h.trySend(p, "bob", "", "hello")
			return inbox.Batch{}, err
		})
	}},

	{name: "concurrent sends with the same key append once", limits: inbox.Limits{Messages: 1000}, run: func(h *harness) {
		h.open("bob")
		var appended, senders = atomic.Int32{}, sync.WaitGroup{}
		const keys = 20
		for i := range 8 * keys {
			senders.Go(func() {
				replayed, err := h.trySend(peer("alice"), "bob", fmt.Sprint(i%keys), "hello")
				if err != nil {
					h.Errorf("send: %v", err)
				} else if !replayed {
					appended.Add(1)
				}
			})
		}
		senders.Wait()
		if got := len(h.look("bob", start, all).Messages); got != keys || appended.Load() != keys {
			h.Errorf("%d messages arrived and %d sends reported that they appended one, want %d", got, appended.Load(), keys)
		}
	}},

	{name: "one of several concurrent receivers stays", run: func(h *harness) {
		h.open("alice")
		for range 20 {
			var receivers []*receiver
			var looks sync.WaitGroup
			for range 8 {
				r := h.receiver("alice")
				receivers = append(receivers, r)
				looks.Go(func() {
					if _, err := r.tryLook(start, 0); err != nil {
						h.Errorf("a new receiver was refused: %v", err)
					}
				})
			}
			looks.Wait()
			stayed := 0
			for _, r := range receivers {
				if _, err := r.tryLook(start, 0); err == nil {
					stayed++
				} else if !errors.Is(err, inbox.ErrReplaced) {
					h.Errorf("a receiver ended with %v", err)
				}
			}
			if stayed != 1 {
				h.Fatalf("%d receivers stayed, want 1", stayed)
			}
		}
	}},

	{name: "an inbox never exceeds its limit", limits: inbox.Limits{Messages: 10}, run: func(h *harness) {
		position := h.open("alice")
		for range 10 {
			var sent atomic.Int32
			var senders sync.WaitGroup
			for range 40 {
				senders.Go(func() {
					if _, err := h.trySend(peer("bob"), "alice", "", "hello"); err == nil {
						sent.Add(1)
					} else if !errors.Is(err, inbox.ErrFull) {
						h.Errorf("send: %v", err)
					}
				})
			}
			senders.Wait()
			b := h.look("alice", position, all)
			if len(b.Messages) != 10 || sent.Load() != 10 {
				h.Fatalf("%d of 40 sends succeeded and %d messages arrived, want 10", sent.Load(), len(b.Messages))
			}
			position = h.look("alice", b.Cursor, 0).Cursor
		}
	}},

	{name: "a server never exceeds its limit of inboxes", limits: inbox.Limits{Inboxes: 10}, run: func(h *harness) {
		for range 5 {
			var mu sync.Mutex
			var opened []string
			var peers sync.WaitGroup
			for i := range 40 {
				peers.Go(func() {
					id := fmt.Sprint(i)
					if _, err := h.tryLook(peer(id), start, 0); err == nil {
						mu.Lock()
						opened = append(opened, id)
						mu.Unlock()
					} else if !errors.Is(err, inbox.ErrServerFull) {
						h.Errorf("receive: %v", err)
					}
				})
			}
			peers.Wait()
			if len(opened) != 10 {
				h.Fatalf("%d of 40 opened an inbox, want 10", len(opened))
			}
			for _, id := range opened {
				peers.Go(func() {
					if err := h.tryClose(peer(id), 0); err != nil {
						h.Errorf("close: %v", err)
					}
				})
			}
			peers.Wait()
		}
	}},

	{name: "every history is linearizable", limits: inbox.Limits{Messages: linearLimit}, run: linearizable},

	{name: "nothing is lost, duplicated or reordered under concurrency", limits: inbox.Limits{Messages: 16, Bytes: 1 << 10}, run: nothingIsLost},

	{name: "a life that ends loses only its newest messages", timed: true, limits: inbox.Limits{Messages: 16, Bytes: 1 << 10}, run: livesEnd},
}

// firstWins starts many concurrent peers with the same id and two different passwords.
func (h *harness) firstWins(begin func(inbox.Peer) (inbox.Batch, error)) {
	h.Helper()
	each := 500 // number of peers per password
	if !h.cfg.Bubble {
		each = 100 // a slow store would report that it is unavailable
	}
	var mu sync.Mutex
	lives := map[inbox.Cursor]bool{}
	won := map[inbox.Secret]int{}
	var peers sync.WaitGroup
	for i := range 2 * each {
		p := peer("alice")
		if i%2 == 1 {
			p = stranger("alice")
		}
		peers.Go(func() {
			b, err := begin(p)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won[p.Secret]++
				lives[b.Cursor] = true
			} else if !errors.Is(err, inbox.ErrUnauthorized) {
				h.Errorf("got the error %v", err)
			}
		})
	}
	peers.Wait()
	if len(won) != 1 || len(lives) != 1 {
		h.Fatalf("%d passwords won, in %d lives", len(won), len(lives))
	}
	for _, n := range won {
		if n != each {
			h.Errorf("of %d peers with the winning password, %d succeeded", each, n)
		}
	}
}
