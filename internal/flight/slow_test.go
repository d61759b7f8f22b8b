package flight

import (
	"testing"
	"testing/synctest"
	"time"
)

// grow adds n chunks to a message and reports whether there was room.
func grow(m *Message, b *Budget, n int) bool {
	for range n {
		if room(m, Chunk, b) == nil {
			return false
		}
	}
	return true
}

func TestTheLongestStalledMessageIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 5
		b := New(0)
		fit := b.slow.limit / ((each - 1) * Chunk) // the first chunk of each message does not count
		cut := 0
		all := make([]*Message, fit+1)
		for i := range all {
			all[i] = &Message{Cut: func() { cut++ }}
		}
		for _, m := range all[:fit] {
			if !grow(m, b, each) {
				t.Fatal("less room than expected")
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(maxPause / 2)
		if last := all[fit]; !grow(last, b, 1) || grow(last, b, b.slow.limit%((each-1)*Chunk)/Chunk+1) || cut > 0 {
			t.Error("a message that had not stalled was dropped")
		}
		if !grow(all[0], b, 0) || all[0].Lost(b) {
			t.Error("the oldest message was dropped too early")
		}
		time.Sleep(2 * maxPause)
		if !grow(all[fit], b, 2) || cut != 1 || !all[0].Lost(b) || all[1].Lost(b) {
			t.Errorf("%d messages were dropped, want only the oldest", cut)
		}
		if grow(all[0], b, 1) {
			t.Error("a dropped message can still grow")
		}
		for _, m := range all {
			m.Release(alice, b)
		}
		if b.slow.used != 0 || len(b.slow.messages) != 0 || b.Used() != 0 {
			t.Errorf("%d bytes of %d messages are left, %d in flight", b.slow.used, len(b.slow.messages), b.Used())
		}
	})
}

// The operator can change the memory of slow messages.
func TestBoundSlow(t *testing.T) {
	b := New(0)
	b.BoundSlow(3 * Chunk)
	var m Message
	if !grow(&m, b, 4) || grow(&m, b, 1) {
		t.Error("want room for exactly three chunks and the free one")
	}
	m.Release(alice, b)
}
