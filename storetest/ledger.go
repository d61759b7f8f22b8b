package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"inbox"
)

// A ledger checks the messages that the owner of an inbox receives.
type ledger struct {
	h        *harness
	position inbox.Cursor
	next     map[string]int // lowest number expected next from each sender
	received map[string]bool
	lives    int
}

func newLedger(h *harness) *ledger {
	return &ledger{h: h, next: map[string]int{}, received: map[string]bool{}}
}

// enter checks a received batch. Bodies have the form "<sender> <number>", and the
// numbers of each sender grow. Within a life, no message may be missing.
func (l *ledger) enter(b inbox.Batch) {
	l.h.Helper()
	if b.Cursor.Life != l.position.Life {
		l.lives++
		l.position = inbox.Cursor{Life: b.Cursor.Life}
	}
	for _, m := range b.Messages {
		if m.Cursor.Seq <= l.position.Seq {
			continue // received before but not acknowledged yet
		}
		if m.Cursor != plus(l.position, 1) {
			l.h.Errorf("%v arrived after %v", m.Cursor, l.position)
		}
		l.position = m.Cursor
		body := string(m.Body)
		var sender string
		var n int
		if _, err := fmt.Sscan(body, &sender, &n); err != nil || sender != m.From {
			l.h.Errorf("%q arrived from %q", body, m.From)
		}
		if l.received[body] || n < l.next[sender] {
			l.h.Errorf("%q arrived twice or out of order", body)
		}
		l.received[body], l.next[sender] = true, n+1
	}
}

// pause waits before a retry. It reports false if the test has ended.
func (h *harness) pause() bool {
	select {
	case <-time.After(time.Millisecond):
		return true
	case <-h.Context().Done():
		return false
	}
}

const (
	ledgerSenders = 4
	ledgerEach    = 150
)

// sendNumbered starts all senders. Each sends ledgerEach numbers from first on, retrying
// each until it succeeds, and makes a random number of up to pauses pauses after each.
// With keys, some messages are sent twice. The returned channel is closed when all have
// finished.
func (h *harness) sendNumbered(to string, first, pauses int, keys bool) (sent <-chan struct{}) {
	var senders sync.WaitGroup
	for i := range ledgerSenders {
		senders.Go(func() {
			from := fmt.Sprintf("sender%d", i)
			for n := first; n < first+ledgerEach; {
				key, again := "", false
				if keys && n%3 == 0 {
					key, again = fmt.Sprint(n), n%2 == 0
				}
				_, err := h.trySend(peer(from), to, key, fmt.Sprintf("%s %d", from, n))
				if err == nil && again {
					var replayed bool
					replayed, err = h.trySend(peer(from), to, key, fmt.Sprintf("%s %d", from, n))
					if err == nil && !replayed {
						h.Errorf("the second send with a key was not replayed")
					}
				}
				switch {
				case err == nil:
					n++
					for range rand.IntN(pauses + 1) {
						h.pause()
					}
				case !errors.Is(err, inbox.ErrFull) && !errors.Is(err, inbox.ErrNoInbox):
					h.Errorf("send: %v", err)
					return
				case !h.pause():
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()
	h.Cleanup(func() { <-done })
	return done
}

// receiveAll receives as the owner until everything has been sent and received. It
// behaves badly in every way: it forgets batches, gives up, pauses, and attaches a second
// receiver while the first one waits. mayClose reports whether the inbox may be closed
// meanwhile.
func (l *ledger) receiveAll(id string, sent <-chan struct{}, mayClose bool) {
	h := l.h
	h.Helper()
	var older sync.WaitGroup
	defer older.Wait()
	// attach returns a receiver that has looked once. Otherwise, a receiver whose first
	// look was canceled could attach after a later one and replace it.
	attach := func() *receiver {
		r := h.receiver(id)
		r.look(start, 0)
		return r
	}
	r := attach()
	begin := time.Now()
	for done := false; !done; {
		if time.Since(begin) > time.Minute {
			h.Fatalf("not finished after a minute and %d messages", len(l.received))
		}
		select {
		case <-sent:
			done = true
		default:
		}
		after, limit := l.position, 1+rand.IntN(20)
		if rand.IntN(4) == 0 {
			after = start
		}
		ctx, cancel := context.WithTimeout(h.Context(), 100*time.Millisecond)
		b, err := r.receive(ctx, after, limit, 200*time.Millisecond)
		cancel()
		switch {
		case err == nil && rand.IntN(3) > 0:
			l.enter(b)
		case mayClose && errors.Is(err, inbox.ErrClosed):
			r = attach()
			continue
		case errors.Is(err, context.DeadlineExceeded): // the receiver has left
			r = attach()
		case err != nil:
			h.Fatalf("receive: %v", err)
		}
		switch rand.IntN(8) {
		case 0:
			abandoned, position := r, l.position
			older.Go(func() {
				_, err := abandoned.receive(h.Context(), position, limit, time.Minute)
				if err != nil && !errors.Is(err, inbox.ErrReplaced) && !(mayClose && errors.Is(err, inbox.ErrClosed)) {
					h.Errorf("the older receiver ended with %v", err)
				}
			})
			r = attach()
		case 1:
			l.enter(h.look(id, l.position, limit))
		case 2:
			h.pause()
		}
	}
	l.enter(h.look(id, l.position, all))
}

func nothingIsLost(h *harness) {
	h.open("alice")
	l := newLedger(h)
	l.receiveAll("alice", h.sendNumbered("alice", 0, 0, true), false)
	if got, want := len(l.received), ledgerSenders*ledgerEach; got != want || l.lives != 1 {
		h.Errorf("%d of %d messages arrived, in %d lives", got, want, l.lives)
	}
}

// livesEnd closes the inbox and lets it expire during all of this. Messages may be lost
// with a life, but every message that arrives proves that all earlier ones of its life
// did. Afterwards no message is lost again.
func livesEnd(h *harness) {
	h.open("alice")
	l := newLedger(h)
	var over atomic.Bool
	var closing sync.WaitGroup
	closing.Go(func() {
		for !over.Load() && h.pause() {
			if rand.IntN(4) == 0 {
				if err := h.tryClose(peer("alice"), 0); err != nil {
					h.Errorf("close: %v", err)
				}
			}
		}
	})
	sent := h.sendNumbered("alice", 0, 10, false)
	for range 3 {
		part, stop := context.WithTimeout(h.Context(), h.ttl/4)
		l.receiveAll("alice", part.Done(), true)
		stop()
		h.until(time.Now(), h.past()) // the owner is away, so the inbox expires
	}
	l.receiveAll("alice", sent, true)
	over.Store(true)
	closing.Wait()
	if l.lives < 3 {
		h.Errorf("only %d lives, want at least 3", l.lives)
	}

	before := len(l.received)
	h.open("alice")
	l.receiveAll("alice", h.sendNumbered("alice", ledgerEach, 0, false), false)
	if got, want := len(l.received)-before, ledgerSenders*ledgerEach; got != want {
		h.Errorf("afterwards, %d of %d messages arrived", got, want)
	}
}
