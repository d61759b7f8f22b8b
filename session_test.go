package inbox_test

import (
	"sync"
	"testing"
	"time"

	"inbox"
)

func TestFreshSkipsMessagesAlreadySent(t *testing.T) {
	of := func(life uint64, seqs ...uint64) (messages []inbox.Message) {
		for _, seq := range seqs {
			messages = append(messages, inbox.Message{Cursor: inbox.Cursor{Life: life, Seq: seq}})
		}
		return messages
	}
	for _, c := range []struct {
		sent     inbox.Cursor
		messages []inbox.Message
		fresh    int
	}{
		{inbox.Cursor{}, nil, 0},
		{inbox.Cursor{}, of(7, 1, 2), 2},
		{inbox.Cursor{Life: 7}, of(7, 1, 2), 2},
		{inbox.Cursor{Life: 7, Seq: 1}, of(7, 1, 2), 1},
		{inbox.Cursor{Life: 7, Seq: 2}, of(7, 1, 2), 0},
		{inbox.Cursor{Life: 7, Seq: 3}, of(7, 5), 1},
		{inbox.Cursor{Life: 7, Seq: 9}, of(8, 1, 2), 2},
	} {
		s := inbox.NewSession(nil, inbox.Peer{}, inbox.Cursor{}, 100, nil, nil)
		s.Sent(c.sent)
		if got := s.Fresh(c.messages); len(got) != c.fresh {
			t.Errorf("after %v, %d of %d messages are fresh, want %d", c.sent, len(got), len(c.messages), c.fresh)
		}
	}
}

// A wake that arrives while a session stops waiting in a goroutine and parks reaches the
// parked session, whichever of the two functions the wake loads.
func TestWakeDuringParkIsNotLost(t *testing.T) {
	for range 500 {
		w := inbox.NewWaker(nil)
		s := inbox.NewSession(nil, inbox.Peer{}, inbox.Cursor{}, 100, w, nil)
		if woken, err := s.Wait(t.Context(), time.Now()); woken || err != nil {
			t.Fatalf("Wait of a session that was not woken: %v, %v", woken, err)
		}
		var waking sync.WaitGroup
		start := make(chan struct{})
		for range 4 {
			waking.Go(func() { <-start; w.Wake() })
		}
		heard := make(chan struct{}, 9) // each wake may call both functions
		close(start)
		s.Park(func() { heard <- struct{}{} })
		waking.Wait()
		select {
		case <-heard:
		default:
			t.Fatal("a wake was lost")
		}
	}
}
