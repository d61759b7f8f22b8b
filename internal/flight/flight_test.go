package flight

import (
	"bytes"
	"sync"
	"testing"
)

func TestTakeRefusesWhatIsBeyondTheLimit(t *testing.T) {
	b := New(100)
	if !b.Take(60) || b.Take(41) || !b.Take(40) || b.Take(1) {
		t.Error("it does not hold 100 bytes")
	}
	b.Give(40)
	if got := b.Used(); got != 60 {
		t.Errorf("%d bytes are used, want 60", got)
	}
	if !b.Take(1) {
		t.Error("what was given back cannot be taken")
	}
	if New(0).limit != Default {
		t.Error("no limit is not the default")
	}
}

func TestBudgetIsWholeAfterManyAtOnce(t *testing.T) {
	b := New(1000)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10_000 {
				if b.Take(300) {
					if b.Used() < 300 {
						t.Error("what was taken does not count")
					}
					b.Give(300)
				}
			}
		})
	}
	all.Wait()
	if got := b.Used(); got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}

func TestMessageIsWhatCame(t *testing.T) {
	for _, parts := range [][]int{
		{}, {1}, {Chunk}, {Chunk + 1}, {100, Chunk, 1}, {100, 3 * Chunk}, {3 * Chunk, 100}, {100, 3 * Chunk, 5, 2 * Chunk, 7},
		{Chunk - 1, 2, Chunk - 1, 2}, {20, 20, 9 * Chunk, 20, 20},
	} {
		b, m, want := New(1<<20), Message{}, []byte{}
		for i, n := range parts {
			for n > 0 {
				p := m.Room(n, b)
				if len(p) == 0 || len(p) > n {
					t.Fatalf("%v: room of %d for %d", parts, len(p), n)
				}
				for j := range p {
					p[j] = byte(i*7 + j)
				}
				want = append(want, p...)
				n -= len(p)
			}
			if m.Len() != len(want) || b.Used() < int64(len(want)) {
				t.Errorf("%v: of %d bytes it says %d, and counts %d", parts, len(want), m.Len(), b.Used())
			}
		}
		if got := m.Bytes(); !bytes.Equal(got, want) || cap(got) > len(want)+len(want)/4+64 {
			t.Errorf("%v: %d bytes in memory of %d, want %d", parts, len(got), cap(got), len(want))
		}
		if m.Release(b); b.Used() != 0 || m.Len() != 0 {
			t.Errorf("%v: %d bytes are left in flight", parts, b.Used())
		}
	}
}

func TestMessageStopsAtTheBudget(t *testing.T) {
	b := New(3 * Chunk)
	var one, other Message
	for range 2 {
		if one.Room(Chunk, b) == nil {
			t.Fatal("there is no room for two chunks")
		}
	}
	if other.Room(2*Chunk, b) != nil || other.Room(1, b) == nil || other.Room(Chunk, b) == nil {
		t.Error("the other message got more than is left, or less")
	}
	if other.Room(Chunk, b) != nil {
		t.Error("there is room beyond the budget")
	}
	one.Release(b)
	if other.Room(Chunk, b) == nil {
		t.Error("what was released cannot be had")
	}
	other.Release(b)
}
