package redisstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redislink"
	"inbox/internal/redistest"
)

// twoStores returns the stores of two servers with the same Redis.
func twoStores(tb testing.TB, url string, waitReplicas int) []*Store {
	tb.Helper()
	c := Config{URL: url, WaitReplicas: waitReplicas}
	return []*Store{open(tb, c), open(tb, c)}
}

// fullServiceSince waits for full service and logs how long it took. For any fault that
// Redis recovers from itself, the goal is 15 seconds on a machine that is not overloaded.
func (l *load) fullServiceSince(begin time.Time) {
	l.Helper()
	l.serves()
	l.Logf("full service after %v", time.Since(begin).Round(10*time.Millisecond))
}

// Faults that a command in Redis causes are repeated under load. None loses a message.
func TestCommandsUnderLoad(t *testing.T) {
	for name, command := range map[string][]string{
		"subscriptions are killed": {"CLIENT", "KILL", "TYPE", "pubsub"},
		"connections are killed":   {"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"},
		"scripts are flushed":      {"SCRIPT", "FLUSH"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t)
			l := startLoad(t, twoStores(t, "redis://"+redis.Addr, 0)...)
			for range 6 {
				l.serves()
				redis.Must(command...)
			}
			l.fullServiceSince(time.Now())
			l.nothingLost()
		})
	}
}

func TestRedisIsPausedUnderLoad(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	stores := twoStores(t, "redis://"+redis.Addr, 0)
	l := startLoad(t, stores...)
	l.serves()
	redis.Pause()
	inboxtest.Until(t, "senders get errors", func() bool { return l.unavailable.Load() > loadPeers })
	inboxtest.Until(t, "the servers are not ready", func() bool { return !stores[0].Ready() && !stores[1].Ready() })
	begin := time.Now()
	redis.Resume()
	l.fullServiceSince(begin)
	inboxtest.Until(t, "the servers are ready", func() bool { return stores[0].Ready() && stores[1].Ready() })
	if l.ends.Load() > 0 {
		t.Logf("%d waits ended, of peers that had just connected", l.ends.Load())
	}
	l.nothingLost()
}

// A Redis without replicas and persistence loses its data when it is killed. The peers
// get a reset, and service resumes.
func TestRedisIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	l := startLoad(t, twoStores(t, "redis://"+redis.Addr, 0)...)
	l.serves()
	redis.Kill()
	inboxtest.Until(t, "senders get errors", func() bool { return l.unavailable.Load() > loadPeers })
	begin := time.Now()
	redis.Restart()
	l.fullServiceSince(begin)
	b := l.end()
	if l.resets.Load() < loadPeers {
		t.Errorf("%d of %d peers got a reset", l.resets.Load(), loadPeers)
	}
	// A send whose reply was lost with Redis is repeated and not recognized.
	if b.Phantoms > 0 || b.Twice > loadPeers || b.Swapped > 0 {
		t.Errorf("the ledger does not balance: %v", b)
	}
}

func TestMemoryRunsOutUnderLoad(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--maxmemory", "100mb")
	stores := twoStores(t, "redis://"+redis.Addr, 0)
	l := startLoad(t, stores...)
	l.serves()
	redis.Must("CONFIG", "SET", "maxmemory", "1")
	inboxtest.Until(t, "senders get errors", func() bool { return l.full.Load() > loadPeers })
	reached(t, func() error { // messages can be received
		_, err := stores[0].Acknowledge(t.Context(), peer("peer0"), inbox.Cursor{}, nil)
		return err
	})
	reached(t, func() error {
		_, err := stores[0].Acknowledge(t.Context(), peer("a new one"), inbox.Cursor{}, nil)
		if errors.Is(err, inbox.ErrServerFull) {
			return nil
		}
		return errors.Join(err, errors.New("a new inbox was opened without memory"))
	})
	untilReady(t, stores[0]) // because messages can be received
	redis.Must("CONFIG", "SET", "maxmemory", "100mb")
	l.fullServiceSince(time.Now())
	l.nothingLost()
}

func TestSentinelPrimaryIsKilledUnderLoad(t *testing.T) {
	for _, wait := range []int{0, 1} {
		t.Run(fmt.Sprint("waiting for replicas: ", wait), func(t *testing.T) {
			t.Parallel()
			g := redistest.StartSentinel(t)
			l := startLoad(t, twoStores(t, g.URL(), wait)...)
			l.serves()
			begin := time.Now()
			g.Kill()
			inboxtest.Until(t, "senders get errors", func() bool { return l.unavailable.Load() > 0 })
			l.fullServiceSince(begin)
			b := l.end()
			t.Logf("%d of %d accepted messages were lost with the primary", b.Lost, b.Accepted)
			if b.Phantoms > 0 || b.Swapped > 0 || b.Twice > 0 && l.resets.Load() == 0 {
				t.Errorf("the ledger does not balance: %v", b)
			}
			if b.Lost > 0 && (wait > 0 || l.resets.Load() == 0) {
				t.Errorf("%d messages were lost, but only %d peers got a reset", b.Lost, l.resets.Load())
			}
		})
	}
}

// A demoted primary refuses writes, but for a moment it still accepts them although it
// has a successor. The replicas that it still has confirm them, and only the successor
// does not. So this test waits for all replicas.
func TestSentinelPrimaryIsDemotedUnderLoad(t *testing.T) {
	t.Parallel()
	g := redistest.StartSentinel(t)
	stores := twoStores(t, g.URL(), 2)
	l := startLoad(t, stores...)
	l.serves()
	before := g.Primary()
	begin := time.Now()
	g.Sentinels[0].Must("SENTINEL", "FAILOVER", redistest.MasterSet)
	inboxtest.Until(t, "there is another primary", func() bool { return g.Primary() != before })
	l.fullServiceSince(begin)
	b := l.end()
	if b.Lost > 0 || b.Phantoms > 0 || b.Swapped > 0 {
		t.Errorf("the ledger does not balance: %v", b)
	}
}

func TestClusterPrimaryIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	g := redistest.StartCluster(t)
	l := startLoad(t, twoStores(t, g.URL(), 0)...)
	l.serves()
	begin := time.Now()
	g.Kill(1)
	l.fullServiceSince(begin)
	for _, s := range l.stores {
		untilReady(t, s)
	}
	t.Logf("every part is in service after %v", time.Since(begin).Round(10*time.Millisecond))
	b := l.end()
	t.Logf("%d of %d accepted messages were lost with the primary", b.Lost, b.Accepted)
	if b.Phantoms > 0 || b.Swapped > 0 || b.Lost > 0 && l.resets.Load() == 0 {
		t.Errorf("the ledger does not balance: %v, %d resets", b, l.resets.Load())
	}
}

func slotOf(s *Store, id string) int {
	return redislink.Slot(redislink.Tag(s.place(id).partition))
}

func TestClusterSlotsMoveUnderLoad(t *testing.T) {
	t.Parallel()
	g := redistest.StartCluster(t)
	stores := twoStores(t, g.URL(), 0)
	l := startLoad(t, stores...)
	l.serves()
	for i := range loadPeers { // slots that the load uses
		g.Move(slotOf(stores[0], fmt.Sprint("peer", i)))
		l.serves()
	}
	l.fullServiceSince(time.Now())
	for _, s := range stores {
		untilReady(t, s)
	}
	b := l.end()
	if b.Lost > 0 || b.Phantoms > 0 || b.Swapped > 0 {
		t.Errorf("the ledger does not balance: %v", b)
	}
}
