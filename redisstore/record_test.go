package redisstore

import (
	"fmt"
	"net/netip"
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
			if err := s.Close(t.Context(), p, 0); err != nil {
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
