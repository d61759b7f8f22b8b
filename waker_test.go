package inbox_test

import (
	"errors"
	"testing"

	"inbox"
)

func TestWakerStaysEnded(t *testing.T) {
	r := inbox.NewWaker(nil)
	if err := r.Err(); err != nil {
		t.Errorf("a new waker has already ended: %v", err)
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

func TestNotifyDeliversAnEarlierWake(t *testing.T) {
	r := inbox.NewWaker(nil)
	r.Wake()
	wakes := 0
	r.Notify(func() { wakes++ })
	if wakes != 1 {
		t.Errorf("Notify called the function %d times, want 1", wakes)
	}
	r.Wake()
	r.End(inbox.ErrReplaced)
	if wakes != 3 {
		t.Errorf("the function was called %d times for a wake and an end, want 2", wakes-1)
	}
}
