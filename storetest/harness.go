package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"inbox"
)

// A harness is the environment of a case. Methods that return no error fail the test if
// the store returns one.
type harness struct {
	T
	cfg    Config
	ttl    time.Duration
	stores []inbox.Store
	turn   atomic.Uint64
}

func newHarness(t T, cfg Config, l inbox.Limits) *harness {
	t.Helper()
	if l.TTL == 0 {
		l.TTL = cfg.TTL
	}
	h := &harness{T: t, cfg: cfg, ttl: l.TTL, stores: cfg.Open(t, l)}
	if len(h.stores) == 0 {
		t.Fatalf("Open returned no store")
	}
	return h
}

// store returns the stores in turn.
func (h *harness) store() inbox.Store {
	return h.stores[h.turn.Add(1)%uint64(len(h.stores))]
}

var pepper = inbox.NewPepper([inbox.PepperSize]byte{1})

// peer returns the owner of an inbox.
func peer(id string) inbox.Peer {
	return inbox.Peer{ID: id, Secret: pepper.Secret(id, "right")}
}

// stranger returns a peer that knows the id but not its password.
func stranger(id string) inbox.Peer {
	return inbox.Peer{ID: id, Secret: pepper.Secret(id, "wrong")}
}

// start precedes every message.
var start inbox.Cursor

// all exceeds the number of messages in any inbox of a case.
const all = 1 << 20

// send sends one message for each body, in order.
func (h *harness) send(from, to string, bodies ...string) {
	h.Helper()
	for _, body := range bodies {
		if h.sendKey(from, to, "", body) {
			h.Fatalf("a send without a key reported replayed")
		}
	}
}

func (h *harness) sendKey(from, to, key, body string) (replayed bool) {
	h.Helper()
	replayed, err := h.trySend(peer(from), to, key, body)
	if err != nil {
		h.Fatalf("send from %q to %q: %v", from, to, err)
	}
	return replayed
}

func (h *harness) trySend(from inbox.Peer, to, key, body string) (replayed bool, err error) {
	return h.store().Send(h.Context(), from, to, inbox.Draft{Body: []byte(body), Key: key})
}

// look looks without a receiver. With a limit of 0 it acknowledges instead.
func (h *harness) look(id string, after inbox.Cursor, limit int) inbox.Batch {
	h.Helper()
	b, err := h.tryLook(peer(id), after, limit)
	if err != nil {
		h.Fatalf("receive at %q: %v", id, err)
	}
	return b
}

func (h *harness) tryLook(p inbox.Peer, after inbox.Cursor, limit int) (inbox.Batch, error) {
	if limit == 0 {
		return h.store().Acknowledge(h.Context(), p, after, nil)
	}
	return h.store().Look(h.Context(), p, after, limit, nil)
}

// open opens an inbox and returns the position before its messages.
func (h *harness) open(id string) inbox.Cursor {
	h.Helper()
	return h.look(id, start, 0).Cursor
}

func (h *harness) close(id string) {
	h.Helper()
	h.want(h.tryClose(peer(id), 0), nil)
}

func (h *harness) tryClose(p inbox.Peer, life uint64) error {
	_, err := h.store().Close(h.Context(), p, life)
	return err
}

// alive reports whether an inbox exists. It sends a message to find out, which stays
// there unless the inbox is full.
func (h *harness) alive(id string) bool {
	h.Helper()
	_, err := h.trySend(peer("prober"), id, "", "")
	if err != nil && !errors.Is(err, inbox.ErrNoInbox) && !errors.Is(err, inbox.ErrFull) {
		h.Fatalf("send to %q: %v", id, err)
	}
	return !errors.Is(err, inbox.ErrNoInbox)
}

func (h *harness) wantAlive(id string, want bool) {
	h.Helper()
	if got := h.alive(id); got != want {
		h.Fatalf("inbox %q exists: %v, want %v", id, got, want)
	}
}

// wantTTL fails the test unless the inbox expires one TTL after since.
func (h *harness) wantTTL(id string, since time.Time) {
	h.Helper()
	h.until(since, h.almost())
	h.wantAlive(id, true)
	h.until(since, h.past())
	h.wantAlive(id, false)
}

// want fails the test unless err matches the expected error, which may be nil.
func (h *harness) want(err, want error) {
	h.Helper()
	if !errors.Is(err, want) {
		h.Fatalf("got the error %v, want %v", err, want)
	}
}

// wantBodies compares the bodies of a batch and checks its consistency: consecutive
// numbers of a single life that end at the batch's cursor.
func (h *harness) wantBodies(b inbox.Batch, bodies ...string) {
	h.Helper()
	if len(b.Messages) != len(bodies) {
		h.Fatalf("got %d messages, want %d: %q", len(b.Messages), len(bodies), bodies)
	}
	for i, m := range b.Messages {
		if string(m.Body) != bodies[i] {
			h.Fatalf("message %d is %q, want %q", i, m.Body, bodies[i])
		}
		if want := plus(b.Cursor, i+1-len(bodies)); m.Cursor != want {
			h.Fatalf("message %d has the cursor %v, want %v", i, m.Cursor, want)
		}
	}
}

// crowd calls do n times from several goroutines.
func (h *harness) crowd(n int, do func(i int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				do(int(i) - 1)
			}
		})
	}
	workers.Wait()
}

// plus returns the position n messages after c, or before it if n is negative.
func plus(c inbox.Cursor, n int) inbox.Cursor {
	return inbox.Cursor{Life: c.Life, Seq: c.Seq + uint64(n)}
}

// almost is a duration shortly before the end of a TTL.
func (h *harness) almost() time.Duration {
	if h.cfg.Bubble {
		return h.ttl - time.Nanosecond
	}
	return h.ttl - h.ttl/4
}

// past is a duration after which a TTL has certainly ended.
func (h *harness) past() time.Duration {
	if h.cfg.Bubble {
		return h.ttl
	}
	return h.ttl + h.ttl/10
}

// until sleeps until d has passed since t. With d of at least a TTL, the case expects
// inboxes to have expired.
func (h *harness) until(t time.Time, d time.Duration) {
	time.Sleep(time.Until(t.Add(d)))
	if a, ok := h.T.(*attempt); ok && d >= h.ttl {
		a.waited(t)
	}
}

// soon is how long to wait for events that should happen immediately, on any machine.
const soon = 10 * time.Second

// slack is how late an event may be: in a bubble, not at all.
func (h *harness) slack() time.Duration {
	if h.cfg.Bubble {
		return 0
	}
	return soon
}

// wantInstant fails the test if time has passed since t: any time in a bubble, or more
// than slack in real time, which suggests that a periodic look was needed.
func (h *harness) wantInstant(t time.Time) {
	h.Helper()
	if d := time.Since(t); d > h.slack() {
		h.Fatalf("it took %v", d)
	}
}
