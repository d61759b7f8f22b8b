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

// A primary that stood still comes back when a replica has its place: until it
// hears of that it believes that nothing has happened.
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
	primary := slotOf(stores[0], "peer0") * len(g.Primaries) / 16384 // where some of the load is
	g.Pause(primary)
	g.Primaries[primary].Resume()
	l.comesBack(begin, 0)
}

// comesBack is the balance of a load whose primary was replaced while it lived.
func (l *load) comesBack(begin time.Time, wait int) {
	l.Helper()
	l.fullServiceSince(begin)
	for _, s := range l.stores {
		untilReady(l, s)
	}
	b := l.end()
	l.Logf("of %d accepted messages %d were lost with what the old primary knew alone", b.Accepted, b.Lost)
	// What the successor does not know as acknowledged comes again.
	if b.Phantoms > 0 || b.Swapped+b.Twice > 0 && l.resets.Load() == 0 {
		l.Errorf("the ledger does not balance: %v", b)
	}
	if b.Lost > 0 && (wait > 0 || l.resets.Load() == 0) {
		l.Errorf("%d messages were lost, and %d peers were told", b.Lost, l.resets.Load())
	}
}

// One server does not reach Redis any more, and the other does.
func TestOneServerIsCutOffUnderLoad(t *testing.T) {
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
			t.Log("this took too long for who waits")
			err = nil
		}
		waited <- err
	}()
	_, err := cut.Send(t.Context(), peer("bob"), "alice", inbox.Draft{Body: []byte("in vain")})
	if !errors.Is(err, inbox.ErrUnavailable) {
		t.Errorf("got the error %v, want %v", err, inbox.ErrUnavailable)
	}
	inboxtest.Until(t, "the server that is cut off is not ready", func() bool { return !cut.Ready() })
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
		t.Errorf("who waited at the server that was cut off: %v", err)
	}
	both.nothingLost()
	atWhole.nothingLost()
}

// A peer that could not wait at a server that is cut off waits at another one.
// When its first request gets through at last, nobody is replaced.
func TestWhatComesTooLateDoesNothing(t *testing.T) {
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
	inboxtest.Until(t, "all that was kept back has got through", func() bool { return p.kept.Load() == 0 })
	for range 2 { // by then Redis has read it
		redis.Must("PING")
	}
	reached(t, wait) // who waits elsewhere is not told anything
}
