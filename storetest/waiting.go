package storetest

import (
	"context"
	"sync"
	"time"

	"inbox"
)

// watched is a store that reports each completed look.
type watched struct {
	inbox.Store
	looked chan struct{}
}

func (s watched) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	defer func() { s.looked <- struct{}{} }()
	return s.Store.Look(ctx, p, after, limit, w)
}

// deaf is a store that attaches no receiver, so that no send wakes it.
type deaf struct{ inbox.Store }

func (d deaf) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, _ *inbox.Waker) (inbox.Batch, error) {
	return d.Store.Look(ctx, p, after, limit, nil)
}

type outcome struct {
	inbox.Batch
	err error
	at  time.Time
}

// waiting is a receiver that waits on its own goroutine.
type waiting struct {
	*receiver
	cancel context.CancelFunc
	looked chan struct{} // receives one value per look
	result chan outcome
}

// wait starts to wait and returns after the first look.
func (r *receiver) wait(after inbox.Cursor, limit int, wait time.Duration) *waiting {
	ctx, cancel := context.WithCancel(r.h.Context())
	w := &waiting{r, cancel, make(chan struct{}, 1000), make(chan outcome, 1)}
	var running sync.WaitGroup
	r.h.Cleanup(running.Wait)
	r.h.Cleanup(cancel)
	running.Go(func() {
		b, err := r.receiveAt(ctx, watched{r.store, w.looked}, after, limit, wait)
		w.result <- outcome{b, err, time.Now()}
	})
	<-w.looked
	return w
}

// batch waits for a result without an error.
func (w *waiting) batch() outcome {
	w.h.Helper()
	o := <-w.result
	w.h.want(o.err, nil)
	return o
}

// wantEnd waits for a result with the given error.
func (w *waiting) wantEnd(want error) {
	w.h.Helper()
	o := <-w.result
	w.h.want(o.err, want)
	if len(o.Messages) > 0 {
		w.h.Errorf("%v was returned with %d messages", o.err, len(o.Messages))
	}
}

// wantLooks compares the number of looks after the first.
func (w *waiting) wantLooks(want int) {
	w.h.Helper()
	if got := len(w.looked); got != want {
		w.h.Errorf("the receiver looked again %d times, want %d", got, want)
	}
}

// long is the duration of a wait that should end early.
func (h *harness) long() time.Duration { return 20 * h.ttl }
