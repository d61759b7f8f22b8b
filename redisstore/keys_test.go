package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// Whatever the number of primaries, none has many more parts than another, and
// every tag is in the slot that Redis computes.
func TestPartsLieEvenly(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--cluster-enabled", "yes")
	seen := map[string]bool{}
	for _, tag := range tags() {
		m := redis.Must("CLUSTER", "KEYSLOT", "inbox:{"+tag+"}x")
		slot, err := m.AsInt64()
		if err != nil || slot != int64(crc16(tag)%16384) || seen[tag] || tag == "" {
			t.Fatalf("the tag %q is in the slot %d: %v", tag, slot, err)
		}
		seen[tag] = true
	}
	for primaries := 1; primaries <= 64; primaries++ {
		parts := make([]int, primaries)
		for _, tag := range tags() {
			parts[int(crc16(tag)%16384)*primaries/16384]++
		}
		for _, n := range parts {
			if even := float64(partitions) / float64(primaries); math.Abs(float64(n)-even) > 1.5 {
				t.Errorf("with %d primaries one has %d parts, and evenly it would be %.1f", primaries, n, even)
			}
		}
	}
}

func TestParseURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h":                             "[h:6379]    0 false",
		"redis://h:1/2":                         "[h:1]    2 false",
		"rediss://u:p@h":                        "[h:6379] u p  0 true",
		"redis://:p%40@h:1,i:2,[::1]:3":         "[h:1 i:2 [::1]:3]  p@  0 false",
		"redis://h:1?addr=i:2":                  "[h:1 i:2]    0 false",
		"redis://h:26379,i:26379/?master_set=m": "[h:26379 i:26379]   m 0 false",
		"rediss://h/?master_set=m&sentinel_password=s&addr=i:1": "[h:6379 i:1]   m 0 true",
	} {
		o, err := ParseURL(url)
		got := fmt.Sprintf("%v %s %s %s %d %v", o.InitAddress, o.Username, o.Password, o.Sentinel.MasterSet, o.SelectDB, o.TLSConfig != nil)
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", url, got, err, want)
		}
	}
	for _, url := range []string{"", "memory", "http://h", "redis://", "redis://h,,i", "redis://Kanari:Kanari@h:x", "redis://h/Kanari", "redis://h?Kanari=1&x", "rediss://h?skip_verify=1", "redis://%zz@h"} {
		if _, err := ParseURL(url); err == nil || strings.Contains(err.Error(), "Kanari@") {
			t.Errorf("%q: got the error %v", url, err)
		}
	}
}

// A password that cuts the URL short is named as the cause, and never quoted.
func TestReservedCharactersInAPassword(t *testing.T) {
	for _, c := range "#/?%^[] \"<>\\`{|}@" {
		for _, user := range []string{"", "user"} {
			for _, format := range []string{"redis://%s:Kana%cri@h", "redis://%s:12%cKanari@h:6379", "rediss://%s:Kanari%c@h:1,i:2/0", "redis://%s:%cKanari=1@h/0?master_set=m"} {
				address := fmt.Sprintf(format, user, c)
				o, err := ParseURL(address)
				if err == nil && strings.HasPrefix(o.InitAddress[0], "h:") && o.Password != "" {
					continue // it can be read as it was meant
				}
				if err == nil || !strings.Contains(err.Error(), "percent-encode") || strings.Contains(err.Error(), "Kana") {
					t.Errorf("%s: error %v, options %v", address, err, o.InitAddress)
				}
			}
		}
	}
	if _, err := ParseURL("redis://h/?sentinel_password=a@b&master_set=m"); err != nil {
		t.Errorf("a known name of the query may have any value: %v", err)
	}
}

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
		t.Cleanup(s.clients.Load().close)
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
