package redisstore

import (
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// A subscription that silently stops receiving is detected: a message is delayed by a few
// seconds, not lost.
func TestDeadSubscriptionIsDetected(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p := startProxy(t, redis.Addr)
	waits := open(t, Config{URL: "redis://" + p.addr, Limits: inbox.Limits{TTL: time.Hour}})
	sends := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: time.Hour}})
	woken := make(chan time.Time, 100)
	r := inbox.NewWaker(func() { woken <- time.Now() })
	if _, err := waits.Look(t.Context(), peer("alice"), inbox.Cursor{}, 1, r); err != nil {
		t.Fatal(err)
	}
	p.deaf.Store(true)
	inboxtest.Until(t, "the subscription has lost a message", func() bool { return p.lost.Load() > 0 })
	begin := time.Now()
	if _, err := sends.Send(t.Context(), peer("bob"), "alice", inbox.Draft{Body: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	took := (<-woken).Sub(begin)
	b, err := waits.Look(t.Context(), peer("alice"), inbox.Cursor{}, 1, r)
	if err != nil || len(b.Messages) != 1 {
		t.Fatalf("got %+v, %v", b, err)
	}
	t.Logf("it took %v", took.Round(time.Millisecond))
	if took > lookAfter {
		t.Errorf("it took %v, as long as without any detection", took)
	}
}
