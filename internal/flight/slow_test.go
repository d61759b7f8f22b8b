package flight

import (
	"testing"
	"testing/synctest"
	"time"
)

// grow has a message come to n chunks, and reports whether it was taken.
func grow(m *Message, b *Budget, n int) bool {
	for range n {
		if room(m, Chunk, b) == nil {
			return false
		}
	}
	return true
}

func TestTheMessageThatPausedLongestIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 5
		b := New(0)
		fit := b.slow.limit / ((each - 1) * Chunk) // the first chunk of each is free
		cut := 0
		all := make([]*Message, fit+1)
		for i := range all {
			all[i] = &Message{Cut: func() { cut++ }}
		}
		for _, m := range all[:fit] {
			if !grow(m, b, each) {
				t.Fatal("there is less room than there should be")
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(maxPause / 2)
		if last := all[fit]; !grow(last, b, 1) || grow(last, b, b.slow.limit%((each-1)*Chunk)/Chunk+1) || cut > 0 {
			t.Error("a message that has only just come made room for another")
		}
		if !grow(all[0], b, 0) || all[0].Lost(b) {
			t.Error("the oldest is lost")
		}
		time.Sleep(2 * maxPause)
		if !grow(all[fit], b, 2) || cut != 1 || !all[0].Lost(b) || all[1].Lost(b) {
			t.Errorf("%d messages were cut, want the oldest alone", cut)
		}
		if grow(all[0], b, 1) {
			t.Error("a lost message goes on")
		}
		for _, m := range all {
			m.Release(alice, b)
		}
		if b.slow.used != 0 || len(b.slow.messages) != 0 || b.Used() != 0 {
			t.Errorf("%d bytes of %d messages are left, %d in flight", b.slow.used, len(b.slow.messages), b.Used())
		}
	})
}

// An operator can give slow messages more memory, or less.
func TestBoundSlow(t *testing.T) {
	b := New(0)
	b.BoundSlow(3 * Chunk)
	var m Message
	if !grow(&m, b, 4) || grow(&m, b, 1) {
		t.Error("there is room for another number than the one chunk that is free, and three")
	}
	m.Release(alice, b)
}
