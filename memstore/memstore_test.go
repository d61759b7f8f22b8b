package memstore_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"inbox"
	"inbox/memstore"
	"inbox/storetest"
)

func TestMain(m *testing.M) {
	// Defaults for the random walks; the command line overrides them. A failed walk can
	// be repeated from its seed, so it needs no file.
	flag.Set("rapid.checks", "400")
	flag.Set("rapid.nofailfile", "true")
	goleak.VerifyTestMain(m)
}

// The inboxes live for a whole number of seconds, so that Run removes them at exactly the
// moment when a case looks.
const ttl = 5 * time.Second

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Config{Bubble: true, TTL: ttl, Inboxes: true, Takes: true, Open: running})
}

func TestStoreWithoutRun(t *testing.T) {
	storetest.Run(t, storetest.Config{Bubble: true, TTL: ttl, Inboxes: true, Takes: true, Unattended: true, Open: func(_ storetest.T, l inbox.Limits) []inbox.Store {
		return []inbox.Store{memstore.New(l)}
	}})
}

func running(t storetest.T, l inbox.Limits) []inbox.Store { return []inbox.Store{run(t, l)} }

// run returns a store whose Run is active until the test ends.
func run(t storetest.T, l inbox.Limits) *memstore.Store {
	s := memstore.New(l)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go s.Run(ctx)
	return s
}

var pepper = inbox.NewPepper([inbox.PepperSize]byte{1})

func peer(id string) inbox.Peer {
	return inbox.Peer{ID: id, Secret: pepper.Secret(id, "password")}
}

func look(t testing.TB, s *memstore.Store, id string, after inbox.Cursor, limit int) inbox.Batch {
	t.Helper()
	b, err := s.Look(t.Context(), peer(id), after, limit, nil)
	if err != nil {
		t.Fatalf("receive at %q: %v", id, err)
	}
	return b
}

func send(t testing.TB, s *memstore.Store, from, to, key, body string) {
	t.Helper()
	if err := trySend(t, s, from, to, key, body); err != nil {
		t.Fatalf("send from %q to %q: %v", from, to, err)
	}
}

func trySend(t testing.TB, s *memstore.Store, from, to, key, body string) error {
	_, err := s.Send(t.Context(), peer(from), to, inbox.Draft{Key: key, Body: []byte(body)})
	return err
}

func closeInbox(t testing.TB, s *memstore.Store, id string) {
	t.Helper()
	if _, err := s.Close(t.Context(), peer(id), 0); err != nil {
		t.Fatalf("close %q: %v", id, err)
	}
}

// start precedes every message.
var start inbox.Cursor

func TestMemoryIsLimited(t *testing.T) {
	body := strings.Repeat("x", 1000)
	for name, makeRoom := range map[string]func(t *testing.T, s *memstore.Store){
		"acknowledge": func(t *testing.T, s *memstore.Store) { look(t, s, "alice", look(t, s, "alice", start, 100).Cursor, 0) },
		"close":       func(t *testing.T, s *memstore.Store) { closeInbox(t, s, "alice") },
		"expire":      func(*testing.T, *memstore.Store) { time.Sleep(time.Nanosecond) },
	} {
		for _, key := range []string{"", "k"} {
			t.Run(name+" "+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := memstore.New(inbox.Limits{TTL: ttl, Memory: 10_000})
					look(t, s, "alice", start, 0)
					sent := 0
					for ; trySend(t, s, "bob", "alice", key, fmt.Sprint(sent, body)) == nil; sent++ {
						if sent > 10 {
							t.Fatal("there is no limit")
						}
					}
					if sent < 5 {
						t.Errorf("10,000 bytes have room for %d messages of 1,000, want at least 5", sent)
					}
					time.Sleep(ttl - 1)
					look(t, s, "carol", start, 0)
					for range 3 {
						if err := trySend(t, s, "bob", "carol", key, body); !errors.Is(err, inbox.ErrServerFull) {
							t.Fatalf("got the error %v, want %v", err, inbox.ErrServerFull)
						}
					}
					if key != "" {
						send(t, s, "bob", "alice", key, fmt.Sprint(0, body)) // a replay needs no memory
					}
					makeRoom(t, s)
					send(t, s, "bob", "carol", key, body)
					if b := look(t, s, "carol", start, 100); len(b.Messages) != 1 || b.Cursor.Seq != 1 {
						t.Errorf("carol has %d messages up to number %d, want 1", len(b.Messages), b.Cursor.Seq)
					}
				})
			})
		}
	}
}

// An expired inbox makes room even while Run is removing it.
func TestExpiredInboxMakesRoomWhileRunRemovesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, inbox.Limits{TTL: time.Second, Inboxes: 2})
		for i := range 2000 {
			look(t, s, fmt.Sprint(i), start, 0)
			look(t, s, fmt.Sprint(-i-1), start, 0)
			time.Sleep(time.Second)
		}
	})
}

func TestUsageIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(inbox.Limits{TTL: ttl, Messages: 8, Memory: 200_000, Inboxes: 8})
		wantUsage(t, s, 0, 0)
		look(t, s, "alice", start, 0)
		_, empty := s.Usage()
		send(t, s, "alice", "alice", "", "12345")
		_, one := s.Usage()
		if one -= empty; one < 5+int64(len("alice")) {
			t.Errorf("a message of 5 bytes is counted for %d", one)
		}
		send(t, s, "alice", "alice", "", "12345")
		wantUsage(t, s, 1, empty+2*one)
		look(t, s, "alice", look(t, s, "alice", start, 1).Cursor, 0)
		wantUsage(t, s, 1, empty+one)
		closeInbox(t, s, "alice")
		wantUsage(t, s, 0, 0)

		// A key that evicts another one costs nothing.
		look(t, s, "alice", start, 0)
		for i := range 2 * inbox.KeysRemembered {
			send(t, s, "alice", "alice", fmt.Sprint(i), "")
			look(t, s, "alice", look(t, s, "alice", start, 1).Cursor, 0)
			if i == inbox.KeysRemembered {
				_, one = s.Usage()
			}
		}
		wantUsage(t, s, 1, one)
		closeInbox(t, s, "alice")
		wantUsage(t, s, 0, 0)

		// Usage stays exact under concurrent random operations.
		var peers sync.WaitGroup
		for range 8 {
			peers.Go(func() {
				r := rand.New(rand.NewPCG(rand.Uint64(), 0))
				for range 3000 {
					randomOperation(t, s, r)
				}
			})
		}
		peers.Wait()
		time.Sleep(ttl)
		for i := range 12 {
			closeInbox(t, s, fmt.Sprint(i))
		}
		wantUsage(t, s, 0, 0)
	})
}

// randomOperation performs one random operation.
func randomOperation(t *testing.T, s *memstore.Store, r *rand.Rand) {
	id := fmt.Sprint(r.IntN(12))
	var err error
	switch r.IntN(40) {
	case 0:
		_, err = s.Close(t.Context(), peer(id), 0)
	case 1:
		time.Sleep(time.Duration(r.Int64N(int64(ttl))))
	case 2, 3, 4, 5, 6, 7, 8, 9, 10, 11:
		var b inbox.Batch
		if b, err = s.Look(t.Context(), peer(id), start, r.IntN(9), nil); err == nil {
			_, err = s.Acknowledge(t.Context(), peer(id), b.Cursor, nil)
		}
	default:
		body := strings.Repeat("x", r.IntN(500))
		key := [...]string{"", "j", "k", fmt.Sprint(r.IntN(1000))}[r.IntN(4)]
		err = trySend(t, s, fmt.Sprint(r.IntN(12)), id, key, body)
	}
	for _, expected := range []error{inbox.ErrFull, inbox.ErrServerFull, inbox.ErrNoInbox, inbox.ErrBadCursor} {
		if errors.Is(err, expected) {
			return
		}
	}
	if err != nil {
		t.Errorf("unexpected: %v", err)
	}
}

func wantUsage(t testing.TB, s *memstore.Store, inboxes, memory int64) {
	t.Helper()
	if gotInboxes, gotMemory := s.Usage(); gotInboxes != inboxes || gotMemory != memory {
		t.Fatalf("the usage is %d inboxes and %d bytes, want %d and %d", gotInboxes, gotMemory, inboxes, memory)
	}
}

func TestRunRemovesExpiredInboxes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, late = 10_000, 100
		s := run(t, inbox.Limits{TTL: ttl})
		for i := range n {
			look(t, s, fmt.Sprint(i), start, 0)
			send(t, s, fmt.Sprint(i), fmt.Sprint(i), "k", "hello")
		}
		_, memory := s.Usage()
		one := memory / n // approximately: ids have one to four bytes
		time.Sleep(ttl / 2)
		for i := range late {
			look(t, s, fmt.Sprint(i), start, 0)
		}
		wantUsage(t, s, n, memory)
		time.Sleep(ttl/2 + time.Second)
		if inboxes, memory := s.Usage(); inboxes != late || memory < late*one*8/10 || memory > late*one+128*20*100 {
			t.Errorf("%d inboxes and %d bytes are left, want %d and about %d plus the room of the maps", inboxes, memory, late, late*one)
		}
		time.Sleep(ttl/2 + time.Second)
		wantUsage(t, s, 0, 0)
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		memstore.New(inbox.Limits{}).Run(ctx)
		close(ended)
	}()
	stop()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("Run did not return")
	}
}

// The store frees its own memory too, not only that of the inboxes.
func TestEmptyStoreFreesItsMemory(t *testing.T) {
	const n, perInbox = 50_000, 5 // bytes that may remain
	s := memstore.New(inbox.Limits{})
	before := heap()
	for i := range n {
		look(t, s, fmt.Sprint(i), start, 0)
	}
	full := heap() - before
	for i := range n {
		closeInbox(t, s, fmt.Sprint(i))
	}
	wantUsage(t, s, 0, 0)
	if left := heap() - before; left > n*perInbox {
		t.Errorf("of %d bytes, %d were not freed", full, left)
	}
	runtime.KeepAlive(s)
}

// heap returns the number of live bytes on the heap.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
