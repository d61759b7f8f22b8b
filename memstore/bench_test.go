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

// cycle is what each message goes through.
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

// BenchmarkCycle is a send, a receive and an acknowledgement. One allocation is
// the message's.
func BenchmarkCycle(b *testing.B) {
	s := memstore.New(inbox.Limits{})
	from, to := peer("alice"), peer("bob")
	ask(b, s, to.ID, start, 0)
	d := inbox.Draft{Body: make([]byte, 1000)}
	b.ReportAllocs()
	for b.Loop() {
		cycle(b, s, from, to, d)
	}
}

// BenchmarkCycleParallel has pairs of peers that know nothing of each other.
func BenchmarkCycleParallel(b *testing.B) {
	s := memstore.New(inbox.Limits{})
	d := inbox.Draft{Body: make([]byte, 1000)}
	var pairs atomic.Int32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		n := pairs.Add(1)
		from, to := peer(fmt.Sprint("from ", n)), peer(fmt.Sprint("to ", n))
		ask(b, s, to.ID, start, 0)
		for pb.Next() {
			cycle(b, s, from, to, d)
		}
	})
}

// BenchmarkSendWithKey is a cycle whose send has a key: one that is new, and
// pushes out the oldest, or the send before once more.
func BenchmarkSendWithKey(b *testing.B) {
	keys := make([]string, 4*inbox.KeysRemembered)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	body := make([]byte, 1000)
	b.Run("new", func(b *testing.B) {
		s := memstore.New(inbox.Limits{})
		from, to := peer("alice"), peer("bob")
		ask(b, s, to.ID, start, 0)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			cycle(b, s, from, to, inbox.Draft{Body: body, Key: keys[i%len(keys)]})
		}
	})
	b.Run("replayed", func(b *testing.B) {
		s := memstore.New(inbox.Limits{})
		from, to := peer("alice"), peer("bob")
		ask(b, s, to.ID, start, 0)
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

// BenchmarkExpire lets 100,000 inboxes expire at once. max-pause-ms is the
// longest that somebody else waited for a cycle meanwhile, quiet-pause-ms the
// longest in a second when nothing expired. Cycles in which the system gave the
// core to another program say nothing about the store, and are left out.
func BenchmarkExpire(b *testing.B) {
	const n = 100_000
	runtime.LockOSThread() // the system counts by thread
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
			ask(b, s, strconv.Itoa(i), start, 0)
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

// coreLost counts how often the system took the core from this thread though it
// had work to do, where the system tells.
func coreLost() int64 {
	const thisThread = 1 // RUSAGE_THREAD of Linux
	var usage syscall.Rusage
	if err := syscall.Getrusage(thisThread, &usage); err != nil {
		return 0
	}
	return int64(usage.Nivcsw)
}

// BenchmarkIdleInbox is what the heap holds for an inbox where nothing happens,
// with its id of 36 bytes.
func BenchmarkIdleInbox(b *testing.B) {
	const n = 300_000
	var each float64
	for b.Loop() {
		s := memstore.New(inbox.Limits{})
		before := heap()
		for i := range n {
			ask(b, s, fmt.Sprintf("%036d", i), start, 0)
		}
		each = float64(heap()-before) / n
		runtime.KeepAlive(s)
	}
	b.ReportMetric(each, "B/inbox")
}
