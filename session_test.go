package inbox_test

import (
	"testing"

	"inbox"
)

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
		s := inbox.NewSession(nil, inbox.Peer{}, inbox.Cursor{}, 100, nil, nil)
		s.Sent(c.sent)
		if got := s.Fresh(c.messages); len(got) != c.fresh {
			t.Errorf("after %v, %d of %d messages are fresh, want %d", c.sent, len(got), len(c.messages), c.fresh)
		}
	}
}
