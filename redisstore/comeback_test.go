package redisstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// A primary that was paused resumes after a replica has replaced it. Until it notices
// that, it still acts as the primary.
func TestSentinelPrimaryComesBackUnderLoad(t *testing.T) {
	t.Parallel()
	for _, wait := range []int{0, 2} {
		t.Run(fmt.Sprint("waiting for replicas: ", wait), func(t *testing.T) {
			t.Parallel()
			g := redistest.StartSentinel(t)
			l := startLoad(t, twoStores(t, g.URL(), wait)...)
			l.serves()
			begin := time.Now()
			g.Pause().Resume()
			l.comesBack(begin, wait)
		})
	}
}

func TestClusterPrimaryComesBackUnderLoad(t *testing.T) {
	t.Parallel()
	g := redistest.StartCluster(t)
	stores := twoStores(t, g.URL(), 0)
	l := startLoad(t, stores...)
	l.serves()
	begin := time.Now()
	primary := slotOf(stores[0], "peer0") * len(g.Primaries) / 16384 // one with some of the load
	g.Pause(primary)
	g.Primaries[primary].Resume()
	l.comesBack(begin, 0)
}

// comesBack checks the balance of a load whose primary was replaced and then resumed.
func (l *load) comesBack(begin time.Time, wait int) {
	l.Helper()
	l.fullServiceSince(begin)
	for _, s := range l.stores {
		untilReady(l, s)
	}
	b := l.end()
	l.Logf("%d of %d accepted messages were lost because only the old primary had them", b.Lost, b.Accepted)
	// Acknowledgements that the successor does not know may cause messages to arrive
	// again.
	if b.Phantoms > 0 || b.Swapped+b.Twice > 0 && l.resets.Load() == 0 {
		l.Errorf("the ledger does not balance: %v", b)
	}
	if b.Lost > 0 && (wait > 0 || l.resets.Load() == 0) {
		l.Errorf("%d messages were lost, but only %d peers got a reset", b.Lost, l.resets.Load())
	}
}

// One server loses its connection to Redis while the other keeps it.
func TestDisconnectedServerUnderLoad(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p := startProxy(t, redis.Addr)
	cut, whole := open(t, Config{URL: "redis://" + p.addr}), open(t, Config{URL: "redis://" + redis.Addr})
	both := startLoad(t, cut, whole)
	atWhole := startLoad(t, whole.at("other:", inbox.Limits{}))
	both.serves()
	r := inbox.NewWaker(nil)
	var b inbox.Batch
	var looked time.Time
	reached(t, func() (err error) {
		looked = time.Now()
		b, err = cut.Look(t.Context(), peer("alice"), inbox.Cursor{}, 0, r)
		return err
	})

	p.cut()
	waited := make(chan error, 1)
	go func() {
		b, err := inbox.NewSession(cut, peer("alice"), b.Cursor, 10, r, nil).Receive(t.Context(), 2*time.Minute)
		if err == nil && (len(b.Messages) != 1 || string(b.Messages[0].Body) != "hello") {
			err = fmt.Errorf("got %+v", b)
		}
		if errors.Is(err, inbox.ErrUnavailable) && time.Since(looked) > holdAtMost {
			t.Log("the outage was longer than a waiting receiver tolerates")
			err = nil
		}
		waited <- err
	}()
	_, err := cut.Send(t.Context(), peer("bob"), "alice", inbox.Draft{Body: []byte("undeliverable")})
	if !errors.Is(err, inbox.ErrUnavailable) {
		t.Errorf("got the error %v, want %v", err, inbox.ErrUnavailable)
	}
	inboxtest.Until(t, "the disconnected server is not ready", func() bool { return !cut.Ready() })
	atWhole.serves()
	untilReady(t, whole)
	reached(t, func() error {
		_, err := whole.Send(t.Context(), peer("bob"), "alice", inbox.Draft{Body: []byte("hello"), Key: "k"})
		return err
	})

	begin := time.Now()
	p.heal()
	both.fullServiceSince(begin)
	untilReady(t, cut)
	if err := <-waited; err != nil {
		t.Errorf("the receiver at the disconnected server: %v", err)
	}
	both.nothingLost()
	atWhole.nothingLost()
}

// A peer's first request is delayed at a server without a connection, so it waits at
// another server. The delayed request must not replace it there.
func TestDelayedRequestDoesNothing(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p := startProxy(t, redis.Addr)
	cut, whole := open(t, Config{URL: "redis://" + p.addr}), open(t, Config{URL: "redis://" + redis.Addr})
	p.cut()
	_, err := cut.Look(t.Context(), peer("alice"), inbox.Cursor{}, 1, inbox.NewWaker(nil))
	if !errors.Is(err, inbox.ErrUnavailable) {
		t.Fatalf("got the error %v, want %v", err, inbox.ErrUnavailable)
	}
	r := inbox.NewWaker(nil)
	wait := func() error {
		_, err := whole.Look(t.Context(), peer("alice"), inbox.Cursor{}, 1, r)
		return err
	}
	reached(t, wait)
	p.heal()
	inboxtest.Until(t, "the proxy has forwarded everything", func() bool { return p.kept.Load() == 0 })
	for range 2 { // Redis has read the request when these return
		redis.Must("PING")
	}
	reached(t, wait) // the receiver has not been replaced
}
