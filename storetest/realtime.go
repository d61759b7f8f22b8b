package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox"
)

// attempts bounds how often a case that ran too slowly is repeated. Each attempt has
// twice the TTL of the previous one.
const attempts = 4

// inRealTime runs a case in real time. It returns a description of the failure, or "". It
// repeats a case that fails after running too slowly, which means that it used an inbox
// that might have expired by then, or that the store was unavailable.
func inRealTime(t *testing.T, cfg Config, c testCase) (failure string) {
	if !c.timed {
		cfg.TTL = time.Hour // nothing expires, however slow the machine
	}
	for n := 1; ; n++ {
		a := &attempt{test: t, ttl: cfg.TTL, looks: map[string]lastLook{}}
		a.run(cfg, c)
		if !a.failed.Load() || !a.late.Load() || n == attempts {
			return a.failure()
		}
		t.Logf("the machine was too slow, so this failure does not count:\n%s", a.failure())
		if a.away.Load() {
			time.Sleep(soon) // until the load on the machine is lower
		}
		cfg.TTL *= 2
	}
}

// An attempt is a T that records failures instead of reporting them.
type attempt struct {
	test   *testing.T
	ttl    time.Duration
	failed atomic.Bool
	late   atomic.Bool
	away   atomic.Bool // the store was unavailable

	mu       sync.Mutex // guards everything below
	looks    map[string]lastLook
	lines    []string
	cleanups []func()
	ctx      context.Context
}

// lastLook is when the owner of an inbox last looked. The inbox expires between a TTL
// after begin and a TTL after end.
type lastLook struct {
	begin, end time.Time
	bySend     bool // a send opened the inbox, and its owner has never looked
}

func (a *attempt) run(cfg Config, c testCase) {
	ctx, over := context.WithCancel(a.test.Context())
	a.ctx = ctx
	open := cfg.Open
	cfg.Open = func(t T, l inbox.Limits) []inbox.Store {
		stores := open(t, l)
		for i, s := range stores {
			stores[i] = noted{s, a}
		}
		return stores
	}
	var running sync.WaitGroup
	running.Go(func() { c.run(newHarness(a, cfg, c.limits)) }) // it may end with Goexit
	running.Wait()
	over()
	for len(a.cleanups) > 0 { // in reverse order, as in a testing.T
		last := len(a.cleanups) - 1
		cleanup := a.cleanups[last]
		a.cleanups = a.cleanups[:last]
		cleanup()
	}
}

// used records an operation on an inbox. If its owner has not looked for a TTL, the inbox
// may have expired, so the attempt is late.
func (a *attempt) used(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lapsedLocked(id) {
		a.late.Store(true)
	}
}

func (a *attempt) lapsedLocked(id string) bool {
	at, ok := a.looks[id]
	return ok && time.Since(at.begin) >= a.ttl
}

// restarted records a look of the owner that began at the given time.
func (a *attempt) restarted(id string, begin time.Time) {
	a.used(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := a.looks[id]; last.begin.After(begin) {
		begin = last.begin
	}
	a.looks[id] = lastLook{begin: begin, end: time.Now()}
}

// opened records a send, which opens the sender's inbox if needed. An inbox that
// is only used for sending may expire and be opened again.
func (a *attempt) opened(from string, begin time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.looks[from]
	switch lapsed := a.lapsedLocked(from); {
	case !ok, lapsed && at.bySend:
		a.looks[from] = lastLook{begin, time.Now(), true}
	case lapsed:
		a.late.Store(true)
	}
}

// waited records that the case has waited for inboxes to expire. It forgets those whose
// owners have not looked since the given time.
func (a *attempt) waited(since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range a.looks {
		if !at.end.After(since) {
			delete(a.looks, id)
		}
	}
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
	_, file, line, _ := runtime.Caller(2) // skips the harness method
	a.Logf("%s:%d: %s", file, line, fmt.Sprintf(format, args...))
	a.failed.Store(true)
	runtime.Goexit()
}

// failure returns everything the attempt logged, or "" if it did not fail.
func (a *attempt) failure() (text string) {
	if !a.failed.Load() {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.lines, "\n")
}

// noted is a store that reports its operations to an attempt.
type noted struct {
	inbox.Store
	a *attempt
}

func (s noted) Send(ctx context.Context, from inbox.Peer, to string, d inbox.Draft) (replayed bool, err error) {
	begin := time.Now()
	replayed, err = s.Store.Send(ctx, from, to, d)
	s.a.used(to)
	switch {
	case err == nil, errors.Is(err, inbox.ErrNoInbox), errors.Is(err, inbox.ErrFull):
		s.a.opened(from.ID, begin)
	default:
		s.ended(from.ID, err)
	}
	return replayed, err
}

func (s noted) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	begin := time.Now()
	b, err := s.Store.Look(ctx, p, after, limit, w)
	s.looked(p.ID, begin, err)
	return b, err
}

func (s noted) Acknowledge(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) (inbox.Batch, error) {
	begin := time.Now()
	b, err := s.Store.Acknowledge(ctx, p, upTo, w)
	s.looked(p.ID, begin, err)
	return b, err
}

// Leave may or may not have restarted the expiry, so it only records errors.
func (s noted) Leave(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) error {
	err := s.Store.Leave(ctx, p, upTo, w)
	if err != nil {
		s.ended(p.ID, err)
	}
	return err
}

// looked records a successful or failed look.
func (s noted) looked(id string, begin time.Time, err error) {
	if err == nil {
		s.a.restarted(id, begin)
	} else {
		s.ended(id, err)
	}
}

func (s noted) Close(ctx context.Context, p inbox.Peer, life uint64) (int, error) {
	told, err := s.Store.Close(ctx, p, life)
	s.ended(p.ID, err)
	return told, err
}

func (s noted) ended(id string, err error) {
	s.a.used(id)
	if errors.Is(err, inbox.ErrUnavailable) {
		s.a.late.Store(true)
		s.a.away.Store(true)
	}
}
