package redisstore

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/internal/redistest"
)

// Servers of version 0.1 treat an inbox's entries for addresses and senders as ended
// receivers, of which they expect at most 8. During an update they share inboxes with
// newer servers.
func TestRecordIsCompatibleWithVersion01(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: time.Minute, Share: 50}})
	untilReady(t, s)
	const size, ended, most = 142, 17, 8 // in that version
	grew := false
	for i := range 2 * most {
		client := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		p := peer("alice")
		p.Client = &client
		if _, err := s.Look(t.Context(), p, inbox.Cursor{}, 10, inbox.NewWaker(nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Send(t.Context(), peer(fmt.Sprint("sender ", i%3)), "alice", inbox.Draft{}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 { // this ends the receiver
			if _, err := s.Close(t.Context(), p, 0); err != nil {
				t.Fatal(err)
			}
		}
		m := redis.Must("GET", s.place("alice").keys[0])
		record, err := m.ToString()
		if err != nil {
			t.Fatal(err)
		}
		n := len(record) - size
		if n < 0 || n%ended != 0 || n > most*ended {
			t.Errorf("after %d rounds the record has %d bytes", i+1, len(record))
		}
		grew = grew || n == most*ended
	}
	if !grew {
		t.Error("the record never reached its maximum size")
	}
}

// During an update an older server may drop the counts of events, or acknowledge events without
// counting them. The limits of the inbox still hold.
func TestEventsThatAnOlderServerDidNotCount(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{Messages: 5}})
	const size, entry = 142, 17
	change := func(id, to string) {
		key := s.place(id).keys[0]
		record := redis.Text("GET", key)
		for i := size; i+entry <= len(record); i += entry {
			if record[i] == 'n' {
				redis.Must("SET", key, record[:i]+to+record[i+entry:])
				return
			}
		}
		t.Fatal("the record has no count of events")
	}
	fill := func(id string) (n int) {
		for ; n < 50; n++ {
			_, err := s.Send(t.Context(), peer(id), id, inbox.Draft{Body: []byte("hello")})
			if errors.Is(err, inbox.ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	look := func(id string, after inbox.Cursor) inbox.Batch {
		t.Helper()
		b, err := s.Look(t.Context(), peer(id), after, 3, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}

	join(t, s, "alice", "standup")
	for _, id := range []string{"bob", "carol", "dave"} {
		join(t, s, id, "standup")
	}
	change("alice", "") // dropped
	join(t, s, "erin", "standup")
	look("alice", look("alice", inbox.Cursor{}).Cursor) // acknowledges three events of four
	if n := fill("alice"); n > 5 {
		t.Errorf("an inbox for 5 messages accepted %d after its count was dropped", n)
	}

	join(t, s, "frank", "lunch")
	join(t, s, "grace", "lunch")
	look("frank", look("frank", inbox.Cursor{}).Cursor)
	change("frank", "n"+strings.Repeat("\x00", 7)+"\x64"+strings.Repeat("\x00", 6)+"\x10\x00") // 100 events
	if n := fill("frank"); n > 5 {
		t.Errorf("an inbox for 5 messages accepted %d that were counted as events", n)
	}
}
