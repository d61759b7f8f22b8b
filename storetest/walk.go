package storetest

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"inbox"
)

// walk compares a store with the model on random walks. -rapid.checks sets their number
// and -rapid.steps their average length.
func walk(t *testing.T, cfg Config) {
	rapid.Check(t, func(t *rapid.T) {
		if cfg.Bubble {
			rapid.SyncTest(t, func(t *rapid.T) { newWalker(t, cfg).walk(t) })
		} else {
			newWalker(t, cfg).walk(t)
		}
	})
}

// A walker performs each step on the store and on the model.
type walker struct {
	h         *harness
	model     *model
	lives     map[uint64]uint64 // maps the model's lives to the store's
	cursors   []inbox.Cursor    // all cursors seen, with the model's lives
	receivers []*walkReceiver
	sends     []walkSend // all sends with a key
	lost      bool       // a step was too slow to rule out an expiry during it
}

type walkReceiver struct {
	*receiver
	model *modelReceiver
	in    *modelInbox // where it last attached
	woken chan struct{}
}

func newWalker(t *rapid.T, cfg Config) *walker {
	l := inbox.Limits{
		TTL:      cfg.TTL,
		Messages: rapid.IntRange(1, 5).Draw(t, "messages"),
		Bytes:    rapid.IntRange(1, 20).Draw(t, "bytes"),
		Share:    rapid.SampledFrom([]int{0, 50, 50, 34, 1}).Draw(t, "share"),
	}
	if burst := rapid.IntRange(0, 3).Draw(t, "wrong secrets"); burst > 0 {
		l.Guesses = inbox.Guesses{Every: 1000 * time.Hour, Burst: burst} // nothing is forgotten during a walk
	}
	if cfg.Inboxes {
		l.Inboxes = rapid.SampledFrom([]int{3, 3, 3, 2, 1}).Draw(t, "inboxes")
	}
	return &walker{h: newHarness(t, cfg, l), model: newModel(l), lives: map[uint64]uint64{}}
}

func (w *walker) walk(t *rapid.T) {
	steps := map[string]func(*rapid.T){
		"send":          func(t *rapid.T) { w.send(t, w.drawSend(t, "")) },
		"send more":     func(t *rapid.T) { w.send(t, w.drawSend(t, "")) },
		"send with key": func(t *rapid.T) { w.send(t, w.drawSend(t, drawKey.Draw(t, "key"))) },
		"send again":    w.sendAgain,
		"receive":       func(t *rapid.T) { w.receive(t, drawID.Draw(t, "id"), nil) },
		"receive more":  func(t *rapid.T) { w.receive(t, drawID.Draw(t, "id"), nil) },
		"look":          w.look,
		"leave":         w.leave,
		"close":         w.close,
		"let time pass": w.pass,
	}
	for name, step := range steps {
		steps[name] = func(t *rapid.T) {
			if !w.lost {
				step(t)
				w.wantWoken(t)
			}
		}
	}
	if rapid.Bool().Draw(t, "open all") {
		w.receiveAll(t)
	}
	t.Repeat(steps)
	if !w.lost {
		w.receiveAll(t)
	}
}

func (w *walker) send(t *rapid.T, s walkSend) {
	now := w.begin()
	replayed, err := w.h.trySend(s.from, s.to, s.key, s.body)
	if !w.end(now, err) {
		return
	}
	wantReplayed, wantErr := w.model.send(s.from, s.to, inbox.Draft{Body: []byte(s.body), Key: s.key}, now)
	if !errors.Is(err, wantErr) || replayed != wantReplayed {
		t.Fatalf("send: got %v and %v, want %v and %v", replayed, err, wantReplayed, wantErr)
	}
}

// receive looks with a receiver, or without one if r is nil.
func (w *walker) receive(t *rapid.T, id string, r *walkReceiver) {
	p, after, limit := drawPeer(t, id), w.cursor(t, id), drawLimit.Draw(t, "limit")
	w.compare(t, p, after, limit, r)
}

func (w *walker) compare(t *rapid.T, p inbox.Peer, after inbox.Cursor, limit int, r *walkReceiver) {
	now := w.begin()
	real := inbox.Cursor{Life: w.lives[after.Life], Seq: after.Seq}
	store, receiver, modelReceiver := w.h.store(), (*inbox.Waker)(nil), (*modelReceiver)(nil)
	if r != nil {
		store, receiver, modelReceiver = r.store, r.Waker, r.model
	}
	// With a limit of 0, acknowledge.
	var got inbox.Batch
	var err error
	if limit > 0 {
		got, err = store.Look(w.h.Context(), p, real, limit, receiver)
	} else {
		got, err = store.Acknowledge(w.h.Context(), p, real, receiver)
	}
	if !w.end(now, err) {
		return
	}
	want, wantErr := w.model.receive(p, after, limit, modelReceiver, limit > 0, now)
	if !errors.Is(err, wantErr) {
		t.Fatalf("receive: got the error %v, want %v", err, wantErr)
	}
	if err != nil {
		if len(got.Messages) > 0 {
			t.Fatalf("receive: %v was returned with %d messages", err, len(got.Messages))
		}
		return
	}
	if r != nil && limit > 0 {
		r.in = w.model.inboxes[p.ID]
	}
	w.wantBatch(t, got, want)
}

func (w *walker) wantBatch(t *rapid.T, got, want inbox.Batch) {
	life := want.Cursor.Life
	if w.lives[life] == 0 {
		for other, named := range w.lives {
			if named == got.Cursor.Life {
				t.Fatalf("the store uses the same name for the lives %d and %d", other, life)
			}
		}
		w.lives[life] = got.Cursor.Life
	}
	cursor := func(c inbox.Cursor) inbox.Cursor {
		w.cursors = append(w.cursors, c)
		return inbox.Cursor{Life: w.lives[c.Life], Seq: c.Seq}
	}
	if got.Cursor != cursor(want.Cursor) || got.Reset != want.Reset || got.TTL != want.TTL || len(got.Messages) != len(want.Messages) {
		t.Fatalf("receive: got %+v, want %+v", got, want)
	}
	for i, want := range want.Messages {
		got := got.Messages[i]
		if got.Cursor != cursor(want.Cursor) || got.From != want.From || !bytes.Equal(got.Body, want.Body) ||
			got.Time.Sub(want.Time).Abs() > w.margin() {
			t.Fatalf("receive: message %d is %+v, want %+v", i, got, want)
		}
	}
}

// look looks with a new or an existing receiver.
func (w *walker) look(t *rapid.T) {
	id := drawID.Draw(t, "id")
	r := &walkReceiver{receiver: w.h.receiver(id), model: &modelReceiver{}, woken: make(chan struct{}, 1)}
	r.Waker = inbox.NewWaker(func() {
		select {
		case r.woken <- struct{}{}:
		default:
		}
	})
	if len(w.receivers) > 0 && drawRight.Draw(t, "known receiver") {
		r = w.receivers[rapid.IntRange(0, len(w.receivers)-1).Draw(t, "receiver")]
		id = r.p.ID
	} else {
		w.receivers = append(w.receivers, r)
	}
	w.model.expire(w.begin())
	in := w.model.inboxes[id]
	if r.in != nil && in != nil && in != r.in && in.receiver != nil && r.model.ended == nil {
		return // expired inbox, other receiver in the next life: it is undefined which one is newer
	}
	w.receive(t, id, r)
}

// leave ends the stay of a receiver and forgets it.
func (w *walker) leave(t *rapid.T) {
	if len(w.receivers) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.receivers)-1).Draw(t, "receiver")
	r, after := w.receivers[i], w.cursor(t, w.receivers[i].p.ID)
	w.receivers = slices.Delete(w.receivers, i, i+1)
	real := inbox.Cursor{Life: w.lives[after.Life], Seq: after.Seq}
	now := w.begin()
	err := r.store.Leave(w.h.Context(), r.p, real, r.Waker)
	if !w.end(now, err) {
		return
	}
	if want := w.model.leave(r.p, after, r.model, now); !errors.Is(err, want) {
		t.Fatalf("leave: got the error %v, want %v", err, want)
	}
}

// wantWoken checks that a step woke the right receivers. Extra wakes are harmless.
func (w *walker) wantWoken(t *rapid.T) {
	for i, r := range w.receivers {
		if !r.model.woken || w.lost {
			select {
			case <-r.woken:
			default:
			}
			continue
		}
		r.model.woken = false
		select {
		case <-r.woken:
		case <-time.After(soon):
			t.Fatalf("receiver %d was not woken", i)
		}
	}
}

func (w *walker) close(t *rapid.T) {
	p := peer(drawID.Draw(t, "id"))
	if in := w.model.inboxes[p.ID]; in != nil && (in.owner == p.Secret) != drawRarely.Draw(t, "right password") {
		p = stranger(p.ID)
	}
	p = drawFrom(t, p)
	now := w.begin()
	err := w.h.tryClose(p, 0)
	if !w.end(now, err) {
		return
	}
	if want := w.model.close(p, now); !errors.Is(err, want) {
		t.Fatalf("close: got the error %v, want %v", err, want)
	}
}

// receiveAll compares all inboxes.
func (w *walker) receiveAll(t *rapid.T) {
	for _, id := range []string{"alice", "bob", "carol"} {
		p := peer(id)
		if in := w.model.inboxes[id]; in != nil {
			p.Secret = in.owner
		}
		w.compare(t, p, start, all, nil)
	}
}
