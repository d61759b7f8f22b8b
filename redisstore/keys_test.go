package redisstore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// Keys and values reveal no ids of owners or passwords, and everything expires.
func TestKeysRevealNothingAndExpire(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: 4 * time.Second}})
	var keys []string
	inboxtest.Until(t, "every kind of key exists", func() bool {
		for _, id := range []string{"alice-known", "bob-known"} {
			reached(t, func() error {
				_, err := s.Look(t.Context(), peer(id), inbox.Cursor{}, 0, inbox.NewWaker(nil))
				return err
			})
		}
		_, err := s.Send(t.Context(), peer("alice-known"), "bob-known", inbox.Draft{Body: []byte("hello"), Key: "k"})
		m := redis.Must("KEYS", "*")
		keys, _ = m.AsStrSlice()
		return err == nil && len(keys) >= 7
	})
	for _, key := range keys {
		ttl := redis.Must("PTTL", key)
		const gone, forever = -2, -1
		switch ms, err := ttl.AsInt64(); {
		case err != nil || ms == forever:
			t.Errorf("%s never expires", key)
		case ms == gone:
			continue
		}
		m, err := redis.Do("DUMP", key)
		if rueidis.IsRedisNil(err) {
			continue
		}
		content, _ := m.ToString()
		dump := key + content
		for _, known := range []string{"bob-known", "password"} {
			if strings.Contains(dump, known) {
				t.Errorf("%s contains %q", key, known)
			}
		}
		if strings.Contains(key, "alice-known") {
			t.Errorf("the key %s contains an id", key)
		}
	}
	inboxtest.Until(t, "all inboxes have gone from Redis", func() bool {
		m := redis.Must("KEYS", "*")
		keys, _ := m.AsStrSlice()
		for _, key := range keys {
			if !strings.Contains(key, "}probe:") && !strings.HasSuffix(key, "}pepper") {
				return false
			}
		}
		return true
	})
}

// A replica that lacks the last messages takes over. Their numbers are not reused: an
// owner that has seen them gets a reset.
func TestNumbersAreNotReusedAfterAFailover(t *testing.T) {
	t.Parallel()
	primary := redistest.Start(t)
	replica := redistest.Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.Port))
	inboxtest.Until(t, "the replica follows", func() bool {
		return strings.Contains(replica.Text("INFO", "replication"), "master_link_status:up")
	})
	before := open(t, Config{URL: "redis://" + primary.Addr})
	send := func(s *Store, bodies ...string) {
		t.Helper()
		for _, body := range bodies {
			if _, err := s.Send(t.Context(), peer("bob"), "alice", inbox.Draft{Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	look := func(s *Store, after inbox.Cursor) (inbox.Batch, string) {
		t.Helper()
		b, err := s.Look(t.Context(), peer("alice"), after, 100, nil)
		if err != nil {
			t.Fatal(err)
		}
		var bodies []string
		for _, m := range b.Messages {
			bodies = append(bodies, string(m.Body))
		}
		return b, strings.Join(bodies, " ")
	}
	look(before, inbox.Cursor{})
	send(before, "1", "2", "3", "4")
	second := inbox.Cursor{}
	if b, got := look(before, second); got != "1 2 3 4" {
		t.Fatalf("got %q", got)
	} else {
		second = b.Messages[1].Cursor
	}
	primary.Must("WAIT", "1", "0")
	inboxtest.Until(t, "the replica is in sync", func() bool {
		offset := func(s *redistest.Server) string {
			_, after, _ := strings.Cut(s.Text("INFO", "replication"), "master_repl_offset:")
			return strings.Fields(after)[0]
		}
		return offset(primary) == offset(replica)
	})
	replica.Must("REPLICAOF", "NO", "ONE")
	send(before, "5", "6")
	lost, got := look(before, second)
	if got != "3 4 5 6" {
		t.Fatalf("got %q", got)
	}

	after := open(t, Config{URL: "redis://" + replica.Addr})
	for _, first := range []bool{true, false} {
		if !first {
			send(after, "X")
		}
		b, got := look(after, lost.Cursor) // this acknowledges 3 and 4 too, since 6 has been seen
		want := ""
		if !first {
			want = "X"
		}
		if !b.Reset || got != want || b.Cursor.Life == lost.Cursor.Life {
			t.Errorf("got %q at %+v, reset %v, want %q and a reset", got, b.Cursor, b.Reset, want)
		}
		if b, _ := look(after, b.Cursor); b.Reset {
			t.Error("a cursor of the new life caused a reset")
		}
	}
	if b, _ := look(after, second); !b.Reset {
		t.Error("a cursor from before the lost messages caused no reset")
	}
}

func TestTooFewReplicas(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr, WaitReplicas: 1})
	if _, err := s.Acknowledge(t.Context(), peer("alice"), inbox.Cursor{}, nil); err != nil {
		t.Fatal(err)
	}
	d := inbox.Draft{Body: []byte("hello"), Key: "k"}
	for range 2 { // the second send is a replay, and fails too
		if _, err := s.Send(t.Context(), peer("bob"), "alice", d); !errors.Is(err, inbox.ErrUnavailable) {
			t.Errorf("got the error %v, want %v", err, inbox.ErrUnavailable)
		}
	}
	replica := redistest.Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(redis.Port))
	inboxtest.Until(t, "the replica follows", func() bool {
		return strings.Contains(replica.Text("INFO", "replication"), "master_link_status:up")
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if replayed, err := s.Send(ctx, peer("bob"), "alice", d); err != nil || !replayed {
		t.Errorf("replayed is %v, %v", replayed, err)
	}
}

// Nothing is published unless a receiver waits at another server, and a burst is one
// wake.
func TestOnlyWakesForOtherServersArePublished(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var stores []*Store // without Run, so that only wakes are published
	for range 2 {
		s, err := Open(t.Context(), Config{URL: "redis://" + redis.Addr, Key: testKey})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Link().Close)
		stores = append(stores, s)
	}
	published := func() (n int64) {
		m := redis.Must("INFO", "commandstats")
		text, _ := m.ToString()
		if _, after, ok := strings.Cut(text, "cmdstat_spublish:calls="); ok {
			n, _ = strconv.ParseInt(after[:strings.IndexByte(after, ',')], 10, 64)
		}
		return n
	}
	look := func(s *Store, r *inbox.Waker) {
		t.Helper()
		reached(t, func() error {
			_, err := s.Look(t.Context(), peer("alice"), inbox.Cursor{}, 0, r)
			return err
		})
	}
	send := func(n int) (wakes int64) {
		t.Helper()
		before := published()
		for range n {
			reached(t, func() error {
				_, err := stores[0].Send(t.Context(), peer("bob"), "alice", inbox.Draft{})
				return err
			})
		}
		return published() - before
	}
	look(stores[0], nil)
	if wakes := send(20); wakes != 0 {
		t.Errorf("no receiver waits, but %d wakes were published", wakes)
	}
	look(stores[0], inbox.NewWaker(nil))
	if wakes := send(20); wakes != 0 {
		t.Errorf("the receiver is at the same server, but %d wakes were published", wakes)
	}
	look(stores[1], inbox.NewWaker(nil))
	if wakes := send(20); wakes != 1 {
		t.Errorf("for a receiver at another server %d wakes were published, want 1", wakes)
	}
}
