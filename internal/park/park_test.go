package park

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"inbox/internal/inboxtest"
)

type opener = func(testing.TB) (server, client net.Conn)

// Wakes before a run are merged into one.
func TestWakesCoalesce(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		server, _ := open(t)
		v := visit(t, l, server)
		v.spot.Wake()
		v.on(Woken, func(s *Spot) {
			var wakers sync.WaitGroup
			for range 8 {
				wakers.Go(func() {
					for range 100 {
						s.Wake()
					}
				})
			}
			wakers.Wait()
		})
		if e := v.on(Woken, func(*Spot) {}); e != Woken {
			t.Errorf("the events are %b", e)
		}
		v.rests()
		v.leave()
	})
}

// Every wake is followed by a run that sees what happened before the wake.
func TestNoWakeIsLost(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		const wakers, each = 8, 2000
		server, _ := open(t)
		var done atomic.Int64
		runs := 0 // used only by the function; the race detector checks that
		all := make(chan int)
		var s *Spot
		s = parked(t, l, server, func(*Spot, Events) {
			runs++
			if done.Load() == wakers*each {
				s.Close()
				all <- runs
			}
		})
		for range wakers {
			go func() {
				for range each {
					done.Add(1)
					s.Wake()
				}
			}()
		}
		select {
		case n := <-all:
			t.Logf("%d wakes, %d runs", wakers*each, n)
		case <-time.After(patience):
			t.Fatal("the last wake was lost")
		}
	})
}

// Concurrent events are handled one after the other.
func TestRunsNeverOverlap(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		const bytes = 500
		server, client := open(t)
		got, buf := 0, make([]byte, 7) // used only by the function
		var inside atomic.Int32
		end := make(chan struct{})
		var s *Spot
		s = parked(t, l, server, func(_ *Spot, e Events) {
			if inside.Add(1) != 1 {
				t.Error("two runs overlap")
			}
			defer inside.Add(-1)
			if e&(Readable|Gone) != 0 {
				n, err := s.ReadNow(buf)
				got += n
				if err != nil && !errors.Is(err, ErrNothing) {
					s.Close()
					close(end)
					return
				}
			}
			s.Rest(time.Microsecond)
			if err := s.Watch(Readable); err != nil {
				t.Error(err)
			}
		})
		s.Wake()
		var others sync.WaitGroup
		others.Go(func() {
			for range bytes {
				if _, err := client.Write([]byte("x")); err != nil {
					t.Error(err)
				}
			}
			client.Close()
		})
		for range 4 {
			others.Go(func() {
				for range 500 {
					s.Wake()
					l.WakeAll()
				}
			})
		}
		others.Wait()
		select {
		case <-end:
		case <-time.After(patience):
			t.Fatal("the function never saw the end")
		}
		if got != bytes {
			t.Errorf("read %d bytes, want %d", got, bytes)
		}
	})
}

// Rest replaces any earlier timeout.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLot(slog.Default())
		server, _ := openPipe(t)
		v := visit(t, l, server)
		start := time.Now()
		v.spot.Wake()
		v.on(Woken, func(s *Spot) { s.Rest(time.Second) })
		v.on(Timeout, func(s *Spot) { s.Rest(time.Second); s.Rest(3 * time.Second) })
		if at := time.Since(start); at != time.Second {
			t.Errorf("the first timeout came after %v", at)
		}
		v.on(Timeout, func(s *Spot) { s.Rest(time.Hour); s.Rest(time.Second) })
		if at := time.Since(start); at != 4*time.Second {
			t.Errorf("the second timeout came after %v", at)
		}
		v.on(Timeout, func(s *Spot) { s.Rest(time.Second); s.Close() })
		if at := time.Since(start); at != 5*time.Second {
			t.Errorf("the third timeout came after %v", at)
		}
		time.Sleep(time.Hour) // replaced timeouts never come
		v.spot.Wake()
		synctest.Wait()
		v.rests()
	})
}

// A timeout that is due during a run causes another run.
func TestTimeoutDuringARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, _ := openPipe(t)
		v := visit(t, NewLot(slog.Default()), server)
		v.spot.Wake()
		v.on(Woken, func(s *Spot) { s.Rest(time.Second); time.Sleep(time.Minute) })
		v.on(Timeout, func(s *Spot) { s.Close() })
	})
}

func TestWakeAll(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		var all []*visitor
		for range 5 {
			server, _ := open(t)
			all = append(all, visit(t, l, server))
		}
		l.WakeAll()
		for _, v := range all {
			v.on(Woken, func(*Spot) {})
		}
		all[0].leave()
		l.WakeAll()
		for _, v := range all[1:] {
			v.on(Woken, (*Spot).Close)
		}
		l.WakeAll()
		all[0].rests()
	})
}

// Wait returns when every spot has ended or when ctx ends.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLot(slog.Default())
		if err := l.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		a, _ := openPipe(t)
		b, _ := openPipe(t)
		first, second := visit(t, l, a), visit(t, l, b)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with two spots, Wait returned %v", err)
		}
		waited := make(chan error, 2)
		for range 2 {
			go func() { waited <- l.Wait(t.Context()) }()
		}
		first.leave()
		synctest.Wait()
		if len(waited) != 0 {
			t.Error("Wait returned before the last spot had ended")
		}
		second.leave()
		for range 2 {
			if err := <-waited; err != nil {
				t.Error(err)
			}
		}
		if err := l.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Watches reports which connections can wait without a goroutine.
func TestWatches(t *testing.T) {
	started := newLot(t)
	for _, k := range kinds {
		server, _ := k.open(t)
		if NewLot(slog.Default()).Watches(server) {
			t.Errorf("%s is watched before Start", k.name)
		}
		if got := started.Watches(server); got != (k.watched && started.poller != nil) {
			t.Errorf("%s is watched: %v", k.name, got)
		}
	}
}

// Close releases everything that the Lot has used.
func TestClose(t *testing.T) {
	before := inboxtest.Descriptors()
	for range 100 {
		l := NewLot(slog.Default())
		if err := l.Start(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := NewLot(slog.Default()).Close(); err != nil {
		t.Error(err)
	}
	if after := inboxtest.Descriptors(); after > before {
		t.Errorf("%d descriptors, want %d", after, before)
	}
}
