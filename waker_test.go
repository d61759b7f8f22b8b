package inbox_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"inbox"
	"inbox/memstore"
)

func TestWakerStaysEnded(t *testing.T) {
	r := inbox.NewWaker(nil)
	if err := r.Err(); err != nil {
		t.Errorf("a new receiver has ended with %v", err)
	}
	r.End(inbox.ErrReplaced)
	r.End(inbox.ErrClosed)
	if err := r.Err(); !errors.Is(err, inbox.ErrReplaced) {
		t.Errorf("the reason is %v, want the first one", err)
	}
}

func TestWakingNeverBlocks(t *testing.T) {
	r := inbox.NewWaker(nil)
	for range 1000 {
		r.Wake()
		r.End(inbox.ErrClosed)
	}
}

func TestNotifyReportsAnEarlierWake(t *testing.T) {
	r := inbox.NewWaker(nil)
	r.Wake()
	wakes := 0
	r.Notify(func() { wakes++ })
	if wakes != 1 {
		t.Errorf("it was called %d times at once, want 1", wakes)
	}
	r.Wake()
	r.End(inbox.ErrReplaced)
	if wakes != 3 {
		t.Errorf("it was called %d times for a wake and an end", wakes-1)
	}
}

// A session first waits in a goroutine and then parks. No wake that comes in between
// is lost.
func TestParkLosesNoWake(t *testing.T) {
	for range 5000 {
		w := inbox.NewWaker(nil)
		s := inbox.NewSession(memstore.New(inbox.Limits{}), inbox.Peer{ID: "alice"}, inbox.Cursor{}, 1, w, nil)
		if _, err := s.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		var waking sync.WaitGroup
		waking.Go(w.Wake)
		woken := make(chan struct{}, 2)
		s.Park(func() { woken <- struct{}{} })
		waking.Wait()
		if len(woken) == 0 {
			t.Fatal("a wake was lost")
		}
	}
}
