package storetest

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox"
)

// attempts is how often a case is tried that failed on a machine that was busy.
const attempts = 10

// inRealTime runs a case where time passes by itself. A failure counts only if
// the machine kept up: else the case may have missed a moment that it waited for.
func inRealTime(t *testing.T, cfg Config, c testCase) {
	for n := 1; ; n++ {
		a := &attempt{test: t, patience: cfg.TTL / 20}
		a.run(cfg, c)
		if a.failed.Load() && a.wasSlow() && n < attempts {
			t.Logf("the machine was busy, so this says nothing: %s", a.text())
			time.Sleep(time.Duration(n) * cfg.TTL / 4) // until others have done their work
			continue
		}
		if a.failed.Load() {
			t.Error(a.text())
		}
		return
	}
}

// attempt is a T whose failures do not count yet.
type attempt struct {
	test     *testing.T
	patience time.Duration // what takes longer had the machine to wait for
	failed   atomic.Bool
	slow     atomic.Bool

	operations, spent atomic.Int64 // how many, and nanoseconds in all

	mu       sync.Mutex // guards what follows
	lines    []string
	cleanups []func()
	ctx      context.Context
}

func (a *attempt) run(cfg Config, c testCase) {
	ctx, over := context.WithCancel(a.test.Context())
	a.ctx = ctx
	var watching, running sync.WaitGroup
	watching.Go(func() { a.watch(ctx) })
	open := cfg.Open
	cfg.Open = func(t T, l inbox.Limits) []inbox.Store {
		stores := open(t, l)
		for i, s := range stores {
			stores[i] = timed{s, a}
		}
		return stores
	}
	running.Go(func() { c.run(newHarness(a, cfg, c.limits)) }) // which may leave by Goexit
	running.Wait()
	over()
	for len(a.cleanups) > 0 { // as those of a test, the last one first
		last := len(a.cleanups) - 1
		cleanup := a.cleanups[last]
		a.cleanups = a.cleanups[:last]
		cleanup()
	}
	watching.Wait()
}

// watch notices when nothing runs for a while.
func (a *attempt) watch(ctx context.Context) {
	tick := time.NewTicker(a.patience / 10)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		a.took(time.Since(last))
		last = time.Now()
	}
}

func (a *attempt) took(d time.Duration) {
	if d > a.patience {
		a.slow.Store(true)
	}
}

// operated notes what an operation of the store took.
func (a *attempt) operated(d time.Duration) {
	a.took(10 * d)
	a.operations.Add(1)
	a.spent.Add(int64(d))
}

// wasSlow reports whether one operation took more than TTL/200, or all of them
// more than TTL/1000 on the average: a case that makes hundreds may then have
// come too late, though it waited for none.
func (a *attempt) wasSlow() bool {
	return a.slow.Load() || 50*a.spent.Load() > int64(a.patience)*a.operations.Load()
}

func (a *attempt) Helper()                  {}
func (a *attempt) Context() context.Context { return a.ctx }

func (a *attempt) Cleanup(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cleanups = append(a.cleanups, f)
}

func (a *attempt) Logf(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines = append(a.lines, fmt.Sprintf(format, args...))
}

func (a *attempt) Errorf(format string, args ...any) {
	_, file, line, _ := runtime.Caller(1)
	a.Logf("%s:%d: %s", file, line, fmt.Sprintf(format, args...))
	a.failed.Store(true)
}

func (a *attempt) Fatalf(format string, args ...any) {
	_, file, line, _ := runtime.Caller(2) // beyond the method of the harness
	a.Logf("%s:%d: %s", file, line, fmt.Sprintf(format, args...))
	a.failed.Store(true)
	runtime.Goexit()
}

func (a *attempt) text() (text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, line := range a.lines {
		text += "\n" + line
	}
	return text
}

// timed is a store that notices when it is slow itself.
type timed struct {
	inbox.Store
	a *attempt
}

func (s timed) Send(ctx context.Context, from inbox.Peer, to string, d inbox.Draft) (replayed bool, err error) {
	begin := time.Now()
	defer func() { s.a.operated(time.Since(begin)) }()
	return s.Store.Send(ctx, from, to, d)
}

func (s timed) Receive(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, r *inbox.Receiver) (inbox.Batch, error) {
	begin := time.Now()
	defer func() { s.a.operated(time.Since(begin)) }()
	return s.Store.Receive(ctx, p, after, limit, r)
}

func (s timed) Close(ctx context.Context, p inbox.Peer) error {
	begin := time.Now()
	defer func() { s.a.operated(time.Since(begin)) }()
	return s.Store.Close(ctx, p)
}
