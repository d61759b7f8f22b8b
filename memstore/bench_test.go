package memstore_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"inbox"
	"inbox/memstore"
)

// cycle sends, receives and acknowledges one message.
func cycle(b *testing.B, s *memstore.Store, from, to inbox.Peer, d inbox.Draft) {
	ctx := context.Background()
	if _, err := s.Send(ctx, from, to.ID, d); err != nil {
		b.Fatal(err)
	}
	batch, err := s.Look(ctx, to, start, 1, nil)
	if err != nil || len(batch.Messages) != 1 {
		b.Fatalf("got %d messages, %v", len(batch.Messages), err)
	}
	if _, err := s.Acknowledge(ctx, to, batch.Cursor, nil); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCycle measures a send, a receive and an acknowledgement of one message. The
// message accounts for one of the allocations.
func BenchmarkCycle(b *testing.B) {
	s := memstore.New(inbox.Limits{})
	from, to := peer("alice"), peer("bob")
	look(b, s, to.ID, start, 0)
	d := inbox.Draft{Body: make([]byte, 1000)}
	b.ReportAllocs()
	for b.Loop() {
		cycle(b, s, from, to, d)
	}
}

// BenchmarkCycleParallel runs independent pairs of peers.
func BenchmarkCycleParallel(b *testing.B) {
	s := memstore.New(inbox.Limits{})
	d := inbox.Draft{Body: make([]byte, 1000)}
	var pairs atomic.Int32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		n := pairs.Add(1)
		from, to := peer(fmt.Sprint("from ", n)), peer(fmt.Sprint("to ", n))
		look(b, s, to.ID, start, 0)
		for pb.Next() {
			cycle(b, s, from, to, d)
		}
	})
}

// BenchmarkSendWithKey measures a cycle whose send has a new key, which evicts the oldest
// one, and a repeated send.
func BenchmarkSendWithKey(b *testing.B) {
	keys := make([]string, 4*inbox.KeysRemembered)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	body := make([]byte, 1000)
	b.Run("new", func(b *testing.B) {
		s := memstore.New(inbox.Limits{})
		from, to := peer("alice"), peer("bob")
		look(b, s, to.ID, start, 0)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			cycle(b, s, from, to, inbox.Draft{Body: body, Key: keys[i%len(keys)]})
		}
	})
	b.Run("replayed", func(b *testing.B) {
		s := memstore.New(inbox.Limits{})
		from, to := peer("alice"), peer("bob")
		look(b, s, to.ID, start, 0)
		for _, key := range keys {
			cycle(b, s, from, to, inbox.Draft{Body: body, Key: key})
		}
		d := inbox.Draft{Body: body, Key: keys[len(keys)-1]}
		b.ReportAllocs()
		for b.Loop() {
			if replayed, err := s.Send(context.Background(), from, to.ID, d); err != nil || !replayed {
				b.Fatalf("replayed is %v, %v", replayed, err)
			}
		}
	})
}

// BenchmarkExpire expires 100,000 inboxes together. max-pause-ms is the longest cycle of
// another peer meanwhile, quiet-pause-ms the longest in a second in which nothing
// expires. Cycles during which the system preempted the thread are ignored, since they
// say nothing about the store.
func BenchmarkExpire(b *testing.B) {
	const n = 100_000
	runtime.LockOSThread() // the system counts preemptions per thread
	defer runtime.UnlockOSThread()
	var quiet, worst time.Duration
	for b.Loop() {
		s := memstore.New(inbox.Limits{TTL: 3 * time.Second})
		ctx, stop := context.WithCancel(b.Context())
		go s.Run(ctx)
		other, d := peer("other"), inbox.Draft{Body: make([]byte, 1000)}
		cycles := func(while func() bool) (longest time.Duration) {
			for lost := coreLost(); while(); {
				begin := time.Now()
				cycle(b, s, other, other, d)
				took := time.Since(begin)
				if now := coreLost(); now == lost {
					longest = max(longest, took)
				} else {
					lost = now
				}
			}
			return longest
		}
		begin := time.Now()
		for i := range n {
			look(b, s, strconv.Itoa(i), start, 0)
		}
		runtime.GC()
		opened := time.Now()
		if opened.Sub(begin) > time.Second {
			b.Fatalf("opening them took %v", opened.Sub(begin))
		}
		quiet = max(quiet, cycles(func() bool { return time.Since(opened) < time.Second }))
		worst = max(worst, cycles(func() bool {
			inboxes, _ := s.Usage()
			return inboxes > 1
		}))
		stop()
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "max-pause-ms")
	b.ReportMetric(float64(quiet.Microseconds())/1000, "quiet-pause-ms")
}

// coreLost returns how often the system preempted this thread, or 0 if it is unknown.
func coreLost() int64 {
	const thisThread = 1 // RUSAGE_THREAD on Linux
	var usage syscall.Rusage
	if err := syscall.Getrusage(thisThread, &usage); err != nil {
		return 0
	}
	return int64(usage.Nivcsw)
}

// BenchmarkIdleInbox measures the heap memory of an idle inbox with an id of 36 bytes.
func BenchmarkIdleInbox(b *testing.B) {
	const n = 300_000
	var each float64
	for b.Loop() {
		s := memstore.New(inbox.Limits{})
		before := heap()
		for i := range n {
			look(b, s, fmt.Sprintf("%036d", i), start, 0)
		}
		each = float64(heap()-before) / n
		runtime.KeepAlive(s)
	}
	b.ReportMetric(each, "B/inbox")
}
