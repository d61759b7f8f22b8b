package redisstore

import (
	"fmt"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/meter"
	"inbox/internal/redistest"
)

// Each message counts once, at the server that acknowledged it, with the time since Redis
// accepted it.
func TestDeliveryCountsAcknowledgedMessages(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var one, two, trips meter.Histogram
	a := open(t, Config{URL: redis.URL(), Delivery: &one, RoundTrips: &trips})
	b := open(t, Config{URL: redis.URL(), Delivery: &two})
	alice, bob := inbox.Peer{ID: "alice"}, inbox.Peer{ID: "bob"}
	before := trips.Read().Count
	opened, err := a.Look(t.Context(), alice, inbox.Cursor{}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := trips.Read().Count - before; n != 2 { // the inbox did not exist
		t.Errorf("a look that opens the inbox took %d round trips, want 2", n)
	}
	const messages = 200
	begin := time.Now()
	for i := range messages {
		if _, err := b.Send(t.Context(), bob, "alice", inbox.Draft{Body: fmt.Append(nil, i)}); err != nil {
			if i < 100 {
				t.Fatal(err)
			}
			break // the inbox is full
		}
	}
	at := func(seq uint64) inbox.Cursor { return inbox.Cursor{Life: opened.Cursor.Life, Seq: seq} }
	for _, ack := range []struct {
		s   *Store
		seq uint64
	}{{a, 1}, {a, 1}, {a, 0}, {b, 31}, {b, 100}, {a, 100}} {
		if _, err := ack.s.Acknowledge(t.Context(), alice, at(ack.seq), nil); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(begin)
	for name, c := range map[string]struct {
		h    *meter.Histogram
		want uint64
	}{"one": {&one, 1}, "the other": {&two, 99}} {
		d := c.h.Read()
		if d.Count != c.want {
			t.Errorf("%d deliveries counted at %s server, want %d", d.Count, name, c.want)
		}
		// Redis's clock has a resolution of a microsecond.
		if d.Sum <= 0 || d.Sum > time.Duration(d.Count)*(took+time.Millisecond) {
			t.Errorf("the deliveries at %s server took %v in all; each took at most %v", name, d.Sum, took)
		}
	}
}

// Messages of closed or expired inboxes were not delivered. Without a histogram the
// script does not read messages again.
func TestDeliveryOfAClosedInbox(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var h meter.Histogram
	s := open(t, Config{URL: redis.URL(), Delivery: &h})
	alice := inbox.Peer{ID: "alice"}
	if _, err := s.Send(t.Context(), alice, "alice", inbox.Draft{Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Close(t.Context(), alice, 0); err != nil {
		t.Fatal(err)
	}
	if n := h.Read().Count; n != 0 {
		t.Errorf("%d deliveries counted, want none", n)
	}
	if measured(nil) == measured(&h) {
		t.Error("the script measures without a histogram")
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--maxmemory", "50mb", "--maxmemory-policy", "noeviction")
	s := open(t, Config{URL: redis.URL()})
	inboxtest.Until(t, "a probe has reported the memory", func() bool { return s.Stats().Most == 50<<20 })
	if st := s.Stats(); st.Used <= 0 || st.Used > 50<<20 || st.Parts != 1 || st.Failovers != 0 || st.Spoiled != 0 {
		t.Errorf("the figures of a quiet Redis are %+v", st)
	}
	redis.Kill()
	s.Doubt()
	inboxtest.Until(t, "Redis counts as down", func() bool { return s.Stats().Down == 1 })
	redis.Restart()
	inboxtest.Until(t, "the restart is counted", func() bool { st := s.Stats(); return st.Failovers == 1 && st.Down == 0 })
}

// A failover in a cluster counts once, although the primary has many parts.
func TestClusterFailoverCountsOnce(t *testing.T) {
	t.Parallel()
	g := redistest.StartCluster(t)
	s := open(t, Config{URL: g.URL()})
	inboxtest.Until(t, "a probe has reported all primaries", func() bool { return s.Stats().Used > 0 })
	g.Kill(0)
	inboxtest.Until(t, "the failover is counted", func() bool { st := s.Stats(); return st.Failovers > 0 && st.Down == 0 })
	if st := s.Stats(); st.Failovers != 1 {
		t.Errorf("the failover of one primary counts as %d", st.Failovers)
	}
}
