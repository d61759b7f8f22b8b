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

// Nobody reads ids or passwords from keys, and everything that is written goes by
// itself.
func TestKeysTellNothingAndExpire(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: 4 * time.Second}})
	var keys []string
	inboxtest.Until(t, "every kind of key is there", func() bool {
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
			t.Errorf("%s lives for ever", key)
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
				t.Errorf("%s tells %q", key, known)
			}
		}
		if strings.Contains(key, "alice-known") {
			t.Errorf("a key is %s", key)
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

// A replica takes over that did not get the last messages. Their numbers are not
// given to others: who has seen them is told that mail may be missing.
func TestNumbersAreNotGivenOutTwiceAfterAFailover(t *testing.T) {
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
	ask := func(s *Store, after inbox.Cursor) (inbox.Batch, string) {
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
	ask(before, inbox.Cursor{})
	send(before, "1", "2", "3", "4")
	second := inbox.Cursor{}
	if b, got := ask(before, second); got != "1 2 3 4" {
		t.Fatalf("got %q", got)
	} else {
		second = b.Messages[1].Cursor
	}
	primary.Must("WAIT", "1", "0")
	inboxtest.Until(t, "the replica has it all", func() bool {
		offset := func(s *redistest.Server) string {
			_, after, _ := strings.Cut(s.Text("INFO", "replication"), "master_repl_offset:")
			return strings.Fields(after)[0]
		}
		return offset(primary) == offset(replica)
	})
	replica.Must("REPLICAOF", "NO", "ONE")
	send(before, "5", "6")
	lost, got := ask(before, second)
	if got != "3 4 5 6" {
		t.Fatalf("got %q", got)
	}

	after := open(t, Config{URL: "redis://" + replica.Addr})
	for _, first := range []bool{true, false} {
		if !first {
			send(after, "X")
		}
		b, got := ask(after, lost.Cursor) // has seen 6, so 3 and 4 are acknowledged
		want := ""
		if !first {
			want = "X"
		}
		if !b.Reset || got != want || b.Cursor.Life == lost.Cursor.Life {
			t.Errorf("got %q at %+v, reset %v, want %q and a reset", got, b.Cursor, b.Reset, want)
		}
		if b, _ := ask(after, b.Cursor); b.Reset {
			t.Error("the new life's cursor was answered with a reset")
		}
	}
	if b, _ := ask(after, second); !b.Reset {
		t.Error("who has not seen the lost messages was not told either")
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
	for range 2 { // the second one is a replay, and no better off
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

// Nothing is published while nobody of another server waits, and a burst is one
// wake.
func TestPublishedIsOnlyForWhoWaits(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var stores []*Store // that do not run, and so say nothing but wakes
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
	ask := func(s *Store, r *inbox.Waker) {
		t.Helper()
		reached(t, func() error {
			_, err := s.Look(t.Context(), peer("alice"), inbox.Cursor{}, 0, r)
			return err
		})
	}
	send := func(n int) (told int64) {
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
	ask(stores[0], nil)
	if told := send(20); told != 0 {
		t.Errorf("nobody waits, and %d wakes were published", told)
	}
	ask(stores[0], inbox.NewWaker(nil))
	if told := send(20); told != 0 {
		t.Errorf("who waits is of the same server, and %d wakes were published", told)
	}
	ask(stores[1], inbox.NewWaker(nil))
	if told := send(20); told != 1 {
		t.Errorf("for one who waits elsewhere %d wakes were published, want 1", told)
	}
}
