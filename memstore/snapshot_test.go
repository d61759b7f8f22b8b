package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/memstore"
)

func save(t testing.TB, s *memstore.Store) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "snapshot")
	if err := s.Save(path, pepper); err != nil {
		t.Fatalf("save: %v", err)
	}
	return path
}

func load(t testing.TB, path string, l inbox.Limits) *memstore.Store {
	t.Helper()
	s := memstore.New(l)
	key, err := s.Load(path)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if key != pepper.Key() {
		t.Fatalf("the snapshot has another key")
	}
	return s
}

func TestSnapshotKeepsEverything(t *testing.T) {
	limits := inbox.Limits{Messages: 5}
	s := memstore.New(limits)
	ids := []string{"alice", "日本語", "a b", strings.Repeat("x", inbox.MaxID)}
	bodies := []string{"acknowledged", "", "\x00\xff", "hello"}
	cursors := map[string]inbox.Cursor{}
	for _, id := range ids {
		look(t, s, id, start, 0)
		for _, body := range bodies {
			send(t, s, id, id, "k", body)
		}
		cursors[id] = look(t, s, id, look(t, s, id, start, 1).Cursor, 0).Cursor
	}
	look(t, s, "empty", start, 0)

	restored := load(t, save(t, s), limits)
	inboxes, memory := s.Usage()
	if n, used := restored.Usage(); n != inboxes || used > memory {
		t.Errorf("%d inboxes with %d bytes became %d with %d", inboxes, memory, n, used)
	}
	for _, id := range ids {
		before, after := look(t, s, id, start, 9), look(t, restored, id, cursors[id], 9)
		if before.Cursor != after.Cursor || after.Reset || len(after.Messages) != len(bodies)-1 {
			t.Fatalf("%.9q: %+v became %+v", id, before, after)
		}
		for i, m := range after.Messages {
			was := before.Messages[i]
			if m.Cursor != was.Cursor || m.From != was.From || string(m.Body) != string(was.Body) ||
				!m.Time.Equal(was.Time) || m.Time.Location() != time.UTC {
				t.Errorf("%.9q: message %+v became %+v", id, was, m)
			}
		}
		for _, body := range bodies {
			replayed, err := restored.Send(t.Context(), peer(id), id, inbox.Draft{Key: "k", Body: []byte(body)})
			if err != nil || !replayed {
				t.Errorf("%.9q: a repeated send: replayed is %v, %v", id, replayed, err)
			}
		}
		_, err := restored.Look(t.Context(), peer(id), inbox.Cursor{Life: after.Cursor.Life, Seq: after.Cursor.Seq + 1}, 9, nil)
		if !errors.Is(err, inbox.ErrBadCursor) {
			t.Errorf("%.9q: a cursor never issued: %v", id, err)
		}
		stranger := inbox.Peer{ID: id, Secret: pepper.Secret(id, "wrong")}
		if _, err := restored.Look(t.Context(), stranger, start, 9, nil); !errors.Is(err, inbox.ErrUnauthorized) {
			t.Errorf("%.9q: wrong password: %v", id, err)
		}
		send(t, restored, "bob", id, "", "next")
		if b := look(t, restored, id, after.Cursor, 9); len(b.Messages) != 1 || b.Cursor.Seq != after.Cursor.Seq+1 {
			t.Errorf("%.9q: the message after %v is %+v", id, after.Cursor, b)
		}
	}
	if b := look(t, restored, "empty", start, 9); b.Cursor != look(t, s, "empty", start, 9).Cursor {
		t.Errorf("an empty inbox did not keep its cursor")
	}
}

func TestSnapshotKeepsRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := inbox.Limits{TTL: ttl}
		s := memstore.New(limits)
		join := func(id string) []string {
			t.Helper()
			members, err := s.Join(t.Context(), peer(id), "standup")
			if err != nil {
				t.Fatal(err)
			}
			return members
		}
		join("early")
		time.Sleep(time.Second)
		for _, id := range []string{"dave", "bob", "alice"} { // not the order of their ids
			join(id)
		}
		path := save(t, s)
		time.Sleep(ttl - time.Second) // early expires meanwhile

		s = memstore.New(limits)
		if _, err := s.Load(path); err != nil {
			t.Fatal(err)
		}
		if got, want := join("carol"), []string{"dave", "bob", "alice", "carol"}; !slices.Equal(got, want) {
			t.Errorf("the members are %q, want %q", got, want)
		}
		var events []string
		for _, m := range look(t, s, "alice", start, 9).Messages {
			e, ok := m.Event()
			if !ok {
				t.Fatalf("got the message %q", m.Body)
			}
			events = append(events, string(e.Kind)+" "+e.Peer)
		}
		if want := []string{"expired early", "joined carol"}; !slices.Equal(events, want) {
			t.Errorf("alice got the events %q, want %q", events, want)
		}
	})
}

func TestSnapshotKeepsTheOrderOfKeys(t *testing.T) {
	s := memstore.New(inbox.Limits{})
	key := func(s *memstore.Store, i int) (replayed bool) {
		replayed, err := s.Send(t.Context(), peer("bob"), "alice", inbox.Draft{Key: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		look(t, s, "alice", look(t, s, "alice", start, 100).Cursor, 0)
		return replayed
	}
	look(t, s, "alice", start, 0)
	const more = 100 // than an inbox remembers
	for i := range inbox.KeysRemembered + more {
		key(s, i)
	}
	s = load(t, save(t, s), inbox.Limits{})
	key(s, -1)
	for i := more + 1; i < more+inbox.KeysRemembered; i++ {
		if !key(s, i) {
			t.Fatalf("key %d was forgotten", i-more)
		}
	}
	if key(s, more) {
		t.Errorf("the oldest key was not forgotten")
	}
}

func TestSnapshotKeepsTheRemainingLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := inbox.Limits{TTL: ttl}
		s := memstore.New(limits)
		look(t, s, "early", start, 0)
		time.Sleep(2 * time.Second)
		look(t, s, "late", start, 0)
		time.Sleep(time.Second)
		path := save(t, s)
		time.Sleep(time.Second) // the process is down

		s = memstore.New(limits)
		time.Sleep(time.Second / 2) // a store's clock starts when it is created
		if _, err := s.Load(path); err != nil {
			t.Fatal(err)
		}
		alive := func(id string, want bool) {
			t.Helper()
			if err := trySend(t, s, "bob", id, "", ""); (err == nil) != want {
				t.Errorf("send to %q: %v", id, err)
			}
		}
		time.Sleep(time.Second/2 - 1)
		alive("early", true)
		time.Sleep(time.Nanosecond)
		alive("early", false)
		time.Sleep(2*time.Second - 1)
		alive("late", true)
		time.Sleep(time.Nanosecond)
		alive("late", false)
	})
}

func TestSnapshotKeepsTheOrderOfExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 500
		s := memstore.New(inbox.Limits{TTL: ttl})
		for i := range n {
			look(t, s, fmt.Sprint(i), start, 0)
			time.Sleep(ttl / 2 / n)
		}
		// Without a look at any of them: each expires in its turn.
		s = load(t, save(t, s), inbox.Limits{TTL: ttl})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go s.Run(ctx)
		time.Sleep(ttl/2 + time.Millisecond)
		for left := n; left > 0; {
			time.Sleep(time.Second)
			left = max(0, left-int(time.Second/(ttl/2/n)))
			inboxes, _ := s.Usage()
			if d := int(inboxes) - left; d < 0 || d > int(time.Second/(ttl/2/n)) {
				t.Fatalf("%d inboxes are left, want about %d", inboxes, left)
			}
		}
		time.Sleep(time.Second)
		wantUsage(t, s, 0, 0)
	})
}

func TestSnapshotOlderThanTheTTLIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(inbox.Limits{TTL: ttl})
		look(t, s, "alice", start, 0)
		send(t, s, "alice", "alice", "k", "hello")
		path := save(t, s)
		time.Sleep(ttl - 1)
		inboxes, memory := s.Usage()
		wantUsage(t, load(t, path, inbox.Limits{TTL: ttl}), inboxes, memory)
		time.Sleep(time.Nanosecond)
		wantUsage(t, load(t, path, inbox.Limits{TTL: ttl}), 0, 0)
		wantUsage(t, load(t, path, inbox.Limits{TTL: 10 * ttl}), 0, 0)
	})
}

func TestSnapshotWithALongerTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(inbox.Limits{TTL: 10 * ttl})
		look(t, s, "alice", start, 0)
		s = load(t, save(t, s), inbox.Limits{TTL: ttl})
		look(t, s, "bob", start, 0)
		time.Sleep(ttl)
		if err := trySend(t, s, "bob", "alice", "", ""); !errors.Is(err, inbox.ErrNoInbox) {
			t.Errorf("the inbox outlived the new TTL: %v", err)
		}
	})
}

func TestSnapshotLargerThanTheLimits(t *testing.T) {
	s := memstore.New(inbox.Limits{})
	for i := range 10 {
		send(t, s, fmt.Sprint(i), fmt.Sprint(i), "", strings.Repeat("x", 1000))
	}
	path := save(t, s)
	for _, l := range []inbox.Limits{{Inboxes: 9}, {Memory: 15_000}} {
		if _, err := memstore.New(l).Load(path); err == nil || errors.Is(err, memstore.ErrDamaged) {
			t.Errorf("load with the limits %+v: %v", l, err)
		}
	}
	inboxes, memory := s.Usage()
	load(t, path, inbox.Limits{Inboxes: int(inboxes), Memory: memory})

	// An owner can empty an inbox that exceeds the new limits.
	s = load(t, path, inbox.Limits{Bytes: 10})
	if err := trySend(t, s, "0", "1", "", "x"); !errors.Is(err, inbox.ErrFull) {
		t.Errorf("send: %v", err)
	}
	look(t, s, "1", look(t, s, "1", start, 1).Cursor, 0)
	send(t, s, "0", "1", "", "x")
}

// A snapshot of a busy store contains a consistent state of each inbox.
func TestSnapshotOfABusyStore(t *testing.T) {
	s := memstore.New(inbox.Limits{Messages: 8})
	ctx, stop := context.WithCancel(t.Context())
	var peers sync.WaitGroup
	for i := range 4 {
		id := fmt.Sprint(i)
		look(t, s, id, start, 0)
		peers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_, _ = s.Send(ctx, peer(id), id, inbox.Draft{Body: fmt.Append(nil, n), Key: fmt.Sprint(n)})
				if n%5 == 4 {
					b, _ := s.Look(ctx, peer(id), start, 3, nil)
					_, _ = s.Acknowledge(ctx, peer(id), b.Cursor, nil)
				}
			}
		})
	}
	for range 8 {
		restored := load(t, save(t, s), inbox.Limits{Messages: 8})
		for i := range 4 {
			b := look(t, restored, fmt.Sprint(i), start, 8)
			for n, m := range b.Messages {
				if want := b.Cursor.Seq - uint64(len(b.Messages)-1-n); m.Cursor.Seq != want {
					t.Errorf("message %d of %d has number %d, want %d", n, len(b.Messages), m.Cursor.Seq, want)
				}
			}
		}
	}
	stop()
	peers.Wait()
}
