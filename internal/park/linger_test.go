package park

import (
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// The client of a lingering spot receives the last bytes written, even if it has sent
// unread bytes.
func TestLinger(t *testing.T) {
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		server, client := open(t)
		if _, err := client.Write(make([]byte, 10<<10)); err != nil {
			t.Fatal(err)
		}
		s := parked(t, l, server, func(s *Spot, _ Events) {
			if err := s.Write([]byte("last words"), time.Minute); err != nil {
				t.Error(err)
			}
			s.Linger(time.Minute)
		})
		s.Wake()
		client.SetReadDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(client); err != nil || string(got) != "last words" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := client.Write(make([]byte, 10<<10)); err != nil {
			t.Errorf("the spot does not read: %v", err)
		}
		s.Wake() // has no effect
		client.Close()
		if err := l.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A client that never closes, or that keeps sending, holds a lingering spot only for a
// limited time.
func TestLingerEnds(t *testing.T) {
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		silent, silentClient := open(t)
		parked(t, l, silent, func(s *Spot, _ Events) { s.Linger(50 * time.Millisecond) }).Wake()
		busy, busyClient := open(t)
		parked(t, l, busy, func(s *Spot, _ Events) { s.Linger(time.Hour) }).Wake()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for buf := make([]byte, 64<<10); ; {
				if _, err := busyClient.Write(buf); err != nil {
					return
				}
			}
		}()
		<-ended
		if err := l.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		silentClient.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, silentClient); err != nil {
			t.Error(err)
		}
	})
}

// When thousands of spots end together, they need only a few goroutines, both before and
// while their clients close.
func TestManyLeaveAtOnce(t *testing.T) {
	const many, few = 1000, 8 * enoughWorkers
	l := NewLot(slog.Default())
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if l.poller == nil {
		t.Skip("there is no poller on this system")
	}
	before := runtime.NumGoroutine()
	clients := make([]net.Conn, many)
	var lingering atomic.Int32
	var most atomic.Int64
	for i := range clients {
		server, client := openNow(t, "TCP")
		clients[i] = client
		parked(t, l, server, func(s *Spot, _ Events) {
			most.Store(max(most.Load(), int64(runtime.NumGoroutine())))
			s.Linger(time.Minute)
			lingering.Add(1)
		})
	}
	l.WakeAll()
	inboxtest.Until(t, "all linger", func() bool { return lingering.Load() == many })
	inboxtest.Until(t, "they need no goroutine", func() bool { return runtime.NumGoroutine() < before+20 })
	for _, c := range clients {
		c.Close()
	}
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if n := int(most.Load()) - before; n > few {
		t.Errorf("%d goroutines for %d spots, want at most %d", n, many, few)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// Blocked functions do not hold up others, as when the store is slow.
func TestBlockedFunctionsDoNotHoldUpOthers(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		const many = 5 * enoughWorkers / 2
		release := make(chan struct{})
		var blocked atomic.Int32
		for range many {
			server, _ := open(t)
			parked(t, l, server, func(s *Spot, _ Events) {
				blocked.Add(1)
				<-release
				s.Close()
			}).Wake()
		}
		server, client := open(t)
		parked(t, l, server, func(s *Spot, _ Events) {
			if err := s.Write([]byte("x"), patience); err != nil {
				t.Error(err)
			}
			s.Close()
		}).Wake()
		client.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		inboxtest.Until(t, "all run", func() bool { return blocked.Load() == many })
		close(release)
		if err := l.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Many alarms for the same time all fire, once, in a few goroutines.
func TestManyAlarms(t *testing.T) {
	l := newLot(t)
	const many = 500
	var rung atomic.Int32
	for i := range many {
		server, _ := openPipe(t)
		set := false // used only by the function
		parked(t, l, server, func(s *Spot, e Events) {
			if !set {
				set = true
				s.Rest(time.Duration(i%7+1) * 10 * time.Millisecond)
				return
			}
			if e&Timeout == 0 {
				t.Errorf("the events are %b", e)
			}
			rung.Add(1)
			s.Close()
		}).Wake()
	}
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if rung.Load() != many || len(l.alarms.heap) != 0 {
		t.Errorf("%d of %d alarms fired, %d are left", rung.Load(), many, len(l.alarms.heap))
	}
}
