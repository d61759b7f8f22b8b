package redisstore

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"inbox"
	"inbox/internal/redistest"
)

// Servers of version 0.1 take what an inbox knows of addresses and senders for receivers
// that ended, of which they expect 8 at most. They share inboxes with later ones during an
// update.
func TestRecordIsOneOfVersion01(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: time.Minute, Share: 50}})
	untilReady(t, s)
	const size, ended, most = 142, 17, 8 // of that version
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
		if i%2 == 1 { // which ends the receiver
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
		t.Error("the record never holds as much as it may")
	}
}
