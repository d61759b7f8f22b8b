package park

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// Thousands of spots wait, without a goroutine each where possible. All get their events,
// even more at once than one call of epoll_wait returns, and nothing is left of them at
// the end.
func TestThousands(t *testing.T) {
	for _, k := range kinds[:3] {
		t.Run(k.name, func(t *testing.T) {
			const many = 1000
			descriptors := inboxtest.Descriptors()
			l := NewLot(slog.Default())
			if err := l.Start(); err != nil {
				t.Fatal(err)
			}
			goroutines := runtime.NumGoroutine()
			clients := make([]net.Conn, many)
			var woken, read, gone atomic.Int32
			for i := range clients {
				server, client := openNow(t, k.name)
				clients[i] = client
				counted := false // used only by the function
				var s *Spot
				s = parked(t, l, server, func(_ *Spot, e Events) {
					if e&Woken != 0 && !counted {
						counted = true
						woken.Add(1)
					}
					if e&(Readable|Gone) != 0 {
						n, err := s.ReadNow(make([]byte, 8))
						read.Add(int32(n))
						if err != nil && !errors.Is(err, ErrNothing) {
							if !errors.Is(err, io.EOF) {
								t.Error(err)
							}
							gone.Add(1)
							s.Close()
							return
						}
					}
					if err := s.Watch(Readable); err != nil {
						t.Error(err)
					}
				})
			}
			l.WakeAll()
			inboxtest.Until(t, "all are woken", func() bool { return woken.Load() == many })
			if l.Watches(clients[0]) {
				inboxtest.Until(t, "none needs a goroutine", func() bool {
					return runtime.NumGoroutine() < goroutines+20
				})
			}
			each(clients, func(c net.Conn) { c.Write([]byte("x")) })
			inboxtest.Until(t, "all have read", func() bool { return read.Load() == many })
			each(clients, func(c net.Conn) { c.Close() })
			inboxtest.Until(t, "all are gone", func() bool { return gone.Load() == many })
			if err := l.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			inboxtest.Until(t, "no descriptor is left", func() bool { return inboxtest.Descriptors() <= descriptors })
			inboxtest.Until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
		})
	}
}

// openNow is open without closing the connections at the end of the test.
func openNow(t *testing.T, kind string) (server, client net.Conn) {
	if kind == "memory" {
		return net.Pipe()
	}
	inner := &keeping{TB: t}
	for _, k := range kinds {
		if k.name == kind {
			return k.open(inner)
		}
	}
	return nil, nil
}

// keeping is a TB that ignores Cleanup.
type keeping struct{ testing.TB }

func (*keeping) Cleanup(func()) {}

func each(clients []net.Conn, f func(net.Conn)) {
	var all sync.WaitGroup
	for part := range 8 {
		all.Go(func() {
			for i := part; i < len(clients); i += 8 {
				f(clients[i])
			}
		})
	}
	all.Wait()
}

// Connections come and go while others wait, are woken and read.
func TestComeAndGo(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		each := 40
		if !l.Watches(first(open(t))) {
			each = 4 // handshakes take time
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range each {
					server, client := open(t)
					end := make(chan struct{})
					got := ""
					var s *Spot
					s = parked(t, l, server, func(_ *Spot, e Events) {
						if e&(Readable|Gone) != 0 {
							buf := make([]byte, 3)
							n, err := s.ReadNow(buf)
							got += string(buf[:n])
							if err != nil && !errors.Is(err, ErrNothing) {
								s.Close()
								close(end)
								return
							}
						}
						if err := s.Watch(Readable); err != nil {
							t.Error(err)
						}
					})
					s.Wake()
					client.Write([]byte("hello"))
					s.Wake()
					client.Close()
					select {
					case <-end:
					case <-time.After(patience):
						t.Error("the function never saw the end")
						return
					}
					if got != "hello" {
						t.Errorf("read %q", got)
					}
				}
			})
		}
		all.Wait()
	})
}

func first(server, _ net.Conn) net.Conn { return server }
