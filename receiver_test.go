package inbox_test

import (
	"errors"
	"testing"

	"inbox"
)

func TestReceiverStaysEnded(t *testing.T) {
	r := inbox.NewReceiver(nil)
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
	r := inbox.NewReceiver(nil)
	for range 1000 {
		r.Wake()
		r.End(inbox.ErrClosed)
	}
}

func TestOnWakeIsCalledForWhatCameBefore(t *testing.T) {
	r := inbox.NewReceiver(nil)
	r.Wake()
	wakes := 0
	r.OnWake(func() { wakes++ })
	if wakes != 1 {
		t.Errorf("it was called %d times at once, want 1", wakes)
	}
	r.Wake()
	r.End(inbox.ErrReplaced)
	if wakes != 3 {
		t.Errorf("it was called %d times for a wake and an end", wakes-1)
	}
}

func TestFreshMessagesAreBeyondWhatWasSent(t *testing.T) {
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
		r := inbox.NewReceiver(nil)
		r.Sent(c.sent)
		if got := r.Fresh(c.messages); len(got) != c.fresh {
			t.Errorf("after %v, %d of %d messages are fresh, want %d", c.sent, len(got), len(c.messages), c.fresh)
		}
	}
}
