package flight

import (
	"bytes"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"inbox"
	"inbox/internal/limit"
)

var alice = netip.MustParseAddr("192.0.2.1")

func took(b *Budget, n int) bool { return b.Take(alice, n) == nil }

// room returns space for n bytes, or nil.
func room(m *Message, n int, b *Budget) []byte {
	p, err := m.Room(alice, n, b)
	if (err == nil) != (p != nil) {
		panic("neither room nor an error, or both")
	}
	return p
}

func TestTakeRefusesBeyondTheLimit(t *testing.T) {
	b := New(100)
	if !took(b, 60) || took(b, 41) || !took(b, 40) || took(b, 1) {
		t.Error("a budget of 100 bytes does not allow exactly 100")
	}
	b.Give(alice, 40)
	if got := b.Used(); got != 60 {
		t.Errorf("%d bytes are used, want 60", got)
	}
	if !took(b, 1) {
		t.Error("bytes that were given back cannot be taken")
	}
	if New(0).limit != Default {
		t.Error("a limit of 0 does not mean the default")
	}
}

func TestConcurrentUseOfABudget(t *testing.T) {
	b := New(1000)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10_000 {
				if took(b, 300) {
					if b.Used() < 300 {
						t.Error("taken bytes do not count")
					}
					b.Give(alice, 300)
				}
			}
		})
	}
	all.Wait()
	if got := b.Used(); got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}

func TestMessageContainsItsParts(t *testing.T) {
	for _, parts := range [][]int{
		{}, {1}, {Chunk}, {Chunk + 1}, {100, Chunk, 1}, {100, 3 * Chunk}, {3 * Chunk, 100}, {100, 3 * Chunk, 5, 2 * Chunk, 7},
		{Chunk - 1, 2, Chunk - 1, 2}, {20, 20, 9 * Chunk, 20, 20},
	} {
		b, m, want := New(1<<20), Message{}, []byte{}
		for i, n := range parts {
			for n > 0 {
				p := room(&m, n, b)
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
				t.Errorf("%v: a message of %d bytes has Len %d and counts for %d", parts, len(want), m.Len(), b.Used())
			}
		}
		if got := m.Bytes(); !bytes.Equal(got, want) || cap(got) > len(want)+len(want)/4+64 {
			t.Errorf("%v: %d bytes in a slice of %d, want %d", parts, len(got), cap(got), len(want))
		}
		if m.Release(alice, b); b.Used() != 0 || m.Len() != 0 {
			t.Errorf("%v: %d bytes are left in flight", parts, b.Used())
		}
	}
}

func TestMessageStopsAtTheBudget(t *testing.T) {
	b := New(3 * Chunk)
	var one, other Message
	for range 2 {
		if room(&one, Chunk, b) == nil {
			t.Fatal("no room for two chunks")
		}
	}
	if room(&other, 2*Chunk, b) != nil || room(&other, 1, b) == nil || room(&other, Chunk, b) == nil {
		t.Error("the second message did not get exactly what is left")
	}
	if room(&other, Chunk, b) != nil {
		t.Error("a message exceeded the budget")
	}
	one.Release(alice, b)
	if room(&other, Chunk, b) == nil {
		t.Error("released bytes cannot be taken")
	}
	other.Release(alice, b)
}

// A client gets exactly its share, and other clients get theirs.
func TestShareOfOneClient(t *testing.T) {
	b := NewShared(100, limit.NewClients(limit.Config{Bytes: 30}))
	bob := netip.MustParseAddr("192.0.2.2")
	if b.Take(alice, 30) != nil || !errors.Is(b.Take(alice, 1), inbox.ErrRateLimited) {
		t.Error("a client does not get exactly its share")
	}
	for i := range 2 {
		if err := b.Take(bob, 30); i == 1 && !errors.Is(err, inbox.ErrRateLimited) || i == 0 && err != nil {
			t.Errorf("another client's bytes: %v", err)
		}
	}
	if carol := netip.MustParseAddr("192.0.2.3"); b.Take(carol, 30) != nil {
		t.Error("a third client does not get its share")
	}
	if dave := netip.MustParseAddr("192.0.2.4"); !errors.Is(b.Take(dave, 30), inbox.ErrServerFull) || b.Take(dave, 10) != nil {
		t.Error("the fourth does not get exactly what is left")
	}
	b.Give(alice, 30)
	if b.Take(alice, 30) != nil || b.Used() != 100 {
		t.Errorf("bytes that were given back cannot be taken: %d bytes are used", b.Used())
	}
	var m Message
	if _, err := m.Room(bob, 1, b); !errors.Is(err, inbox.ErrRateLimited) {
		t.Errorf("room beyond a share: %v", err)
	}
}
