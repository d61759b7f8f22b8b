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

// attempts is how often a case is tried that came too late. Each has twice the
// time of the one before.
const attempts = 4

// inRealTime runs a case where time passes by itself, and returns how it failed
// or "". A failure counts unless the case came too late: unless it used an inbox
// when that may have expired already, or the store said that it is unavailable.
func inRealTime(t *testing.T, cfg Config, c testCase) (failure string) {
	if !c.timed {
		cfg.TTL = time.Hour // nothing expires, however slow the machine is
	}
	for n := 1; ; n++ {
		a := &attempt{test: t, ttl: cfg.TTL, asked: map[string]asked{}}
		a.run(cfg, c)
		if !a.failed.Load() || !a.late.Load() || n == attempts {
			return a.failure()
		}
		t.Logf("the machine was late, so this says nothing:\n%s", a.failure())
		if a.away.Load() {
			time.Sleep(soon) // until others have done their work
		}
		cfg.TTL *= 2
	}
}

// attempt is a T whose failures do not count yet.
type attempt struct {
	test   *testing.T
	ttl    time.Duration
	failed atomic.Bool
	late   atomic.Bool
	away   atomic.Bool // the store was

	mu       sync.Mutex // guards what follows
	asked    map[string]asked
	lines    []string
	cleanups []func()
	ctx      context.Context
}

// asked is when the owner of an inbox asked last: it does not expire before a
// TTL after the beginning, and it expires at most a TTL after the end.
type asked struct {
	begin, end time.Time
	bySend     bool // it was opened, and has never asked
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
	running.Go(func() { c.run(newHarness(a, cfg, c.limits)) }) // which may leave by Goexit
	running.Wait()
	over()
	for len(a.cleanups) > 0 { // as those of a test, the last one first
		last := len(a.cleanups) - 1
		cleanup := a.cleanups[last]
		a.cleanups = a.cleanups[:last]
		cleanup()
	}
}

// used notes that something was done to an inbox, which may have expired if its
// owner has not asked for a TTL.
func (a *attempt) used(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lapsedLocked(id) {
		a.late.Store(true)
	}
}

func (a *attempt) lapsedLocked(id string) bool {
	at, ok := a.asked[id]
	return ok && time.Since(at.begin) >= a.ttl
}

// restarted notes that its owner has asked, and began to then.
func (a *attempt) restarted(id string, begin time.Time) {
	a.used(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := a.asked[id]; last.begin.After(begin) {
		begin = last.begin
	}
	a.asked[id] = asked{begin: begin, end: time.Now()}
}

// opened notes a send, which opens the inbox of its sender if there is none. One
// that is there for sending alone may expire and be opened again.
func (a *attempt) opened(from string, begin time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.asked[from]
	switch lapsed := a.lapsedLocked(from); {
	case !ok, lapsed && at.bySend:
		a.asked[from] = asked{begin, time.Now(), true}
	case lapsed:
		a.late.Store(true)
	}
}

// waited notes that the case has waited for the expiry of the inboxes whose
// owners have not asked since.
func (a *attempt) waited(since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range a.asked {
		if !at.end.After(since) {
			delete(a.asked, id)
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
	_, file, line, _ := runtime.Caller(2) // beyond the method of the harness
	a.Logf("%s:%d: %s", file, line, fmt.Sprintf(format, args...))
	a.failed.Store(true)
	runtime.Goexit()
}

// failure returns all that was said, if the attempt failed.
func (a *attempt) failure() (text string) {
	if !a.failed.Load() {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.lines, "\n")
}

// noted is a store of whose use an attempt takes note.
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
	s.asked(p.ID, begin, err)
	return b, err
}

func (s noted) Acknowledge(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) (inbox.Batch, error) {
	begin := time.Now()
	b, err := s.Store.Acknowledge(ctx, p, upTo, w)
	s.asked(p.ID, begin, err)
	return b, err
}

// Leave may have restarted an expiry or not: the attempt is told of neither.
func (s noted) Leave(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) error {
	err := s.Store.Leave(ctx, p, upTo, w)
	if err != nil {
		s.ended(p.ID, err)
	}
	return err
}

// asked notes that the owner asked, or was refused.
func (s noted) asked(id string, begin time.Time, err error) {
	if err == nil {
		s.a.restarted(id, begin)
	} else {
		s.ended(id, err)
	}
}

func (s noted) Close(ctx context.Context, p inbox.Peer, life uint64) error {
	err := s.Store.Close(ctx, p, life)
	s.ended(p.ID, err)
	return err
}

func (s noted) ended(id string, err error) {
	s.a.used(id)
	if errors.Is(err, inbox.ErrUnavailable) {
		s.a.late.Store(true)
		s.a.away.Store(true)
	}
}
