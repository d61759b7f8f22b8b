package park

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// readAll reads text, in whatever parts it arrives, and keeps watching.
func (v *visitor) readAll(text string) {
	v.Helper()
	for got := ""; got != text; {
		v.on(Readable, func(s *Spot) {
			buf := make([]byte, 1<<10)
			n, err := s.ReadNow(buf)
			if err != nil && !errors.Is(err, ErrNothing) {
				v.Errorf("%q, then %v", got, err)
			}
			got += string(buf[:n])
			v.watch(Readable)(s)
		})
		if !strings.HasPrefix(text, got) {
			v.Fatalf("read %q, want %q", got, text)
		}
	}
}

func TestReadable(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		server, client := open(t)
		v := visit(t, l, server)
		v.begin(Readable)
		v.rests()
		for _, text := range []string{"a", "hello", "again"} {
			write(t, client, text)
			v.readAll(text)
		}
		v.leave()
	})
}

// Bytes that arrived before the Watch are reported.
func TestReadableBeforeWatch(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		server, client := open(t)
		v := visit(t, l, server)
		write(t, client, "early")
		v.begin(Readable)
		v.readAll("early")
		v.leave()
	})
}

// A run that leaves bytes unread is followed by another, even if nothing more arrives.
func TestPartlyDrained(t *testing.T) {
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		for _, size := range []int{1, 3, 4, 5, 12, 16} { // 4 and 16 end with the text
			text := "0123456789abcdef"
			server, client := open(t)
			v := visit(t, l, server)
			v.begin(Readable)
			if _, err := client.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, size)
			for got := ""; got != text; {
				v.on(Readable, func(s *Spot) {
					n, err := s.ReadNow(buf)
					if err != nil {
						t.Errorf("%q, then %v", got, err)
					}
					if s.Drained() != (n < size) {
						t.Errorf("%d of %d bytes, and drained: %v", n, size, s.Drained())
					}
					got += string(buf[:n])
					v.watch(Readable)(s)
				})
			}
			if len(text)%size == 0 { // the end of the text is not visible to it
				v.on(Readable, func(s *Spot) {
					if n, err := s.ReadNow(buf); !errors.Is(err, ErrNothing) || n != 0 || !s.Drained() {
						t.Errorf("at the end: %d, %v, drained: %v", n, err, s.Drained())
					}
					v.watch(Readable)(s)
				})
			}
			v.rests()
			write(t, client, "more")
			v.readAll("more")
			v.leave()
		}
	})
}

// The same with Read, which waits.
func TestPartlyRead(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		server, client := open(t)
		v := visit(t, l, server)
		v.begin(Readable)
		write(t, client, "abc")
		var first [1]byte
		v.on(Readable, func(s *Spot) {
			if n, err := s.ReadNow(first[:]); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			// The missing bytes arrive only now.
			write(t, client, "def")
			rest := make([]byte, 5)
			if _, err := io.ReadFull(readerOf{s}, rest); err != nil || string(rest) != "bcdef" {
				t.Errorf("%q, %v", rest, err)
			}
			v.watch(Readable)(s)
		})
		write(t, client, "ghi")
		for got := ""; got != "ghi"; {
			v.on(Readable, func(s *Spot) {
				buf := make([]byte, 10)
				n, err := s.ReadNow(buf)
				if err != nil && !errors.Is(err, ErrNothing) {
					t.Error(err)
				}
				got += string(buf[:n])
				v.watch(Readable)(s)
			})
		}
		v.leave()
	})
}

type readerOf struct{ s *Spot }

func (r readerOf) Read(p []byte) (int, error) { return r.s.Read(p, time.Now().Add(patience)) }

// Bytes that arrive after the last read cause another run.
func TestReadableDuringARun(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		server, client := open(t)
		v := visit(t, l, server)
		v.begin(Readable)
		write(t, client, "1")
		v.readAll("1")
		for range 50 {
			v.spot.Wake()
			v.on(Woken, func(s *Spot) {
				write(t, client, "2") // also after a read that found nothing
				v.watch(Readable)(s)
			})
			v.readAll("2")
		}
		v.leave()
	})
}

// The end is Readable, after all bytes before it, even if both arrive together.
func TestReadableUntilTheEnd(t *testing.T) {
	const text = "last bytes"
	for name, last := range map[string]func(net.Conn){
		"both before the watch": func(c net.Conn) { c.Write([]byte(text)); c.Close() },
		"while it is watched":   nil,
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, l *Lot, open opener) {
				server, client := open(t)
				v := visit(t, l, server)
				switch _, buffered := client.(*net.TCPConn); {
				case last == nil:
					v.begin(Readable)
					go func() { client.Write([]byte(text)); client.Close() }()
				case buffered:
					last(client)
					v.begin(Readable)
				default:
					go last(client)
					v.begin(Readable)
				}
				got, ended := "", false
				for !ended {
					v.on(Readable|Gone, func(s *Spot) {
						buf := make([]byte, 100)
						n, err := s.ReadNow(buf)
						got += string(buf[:n])
						if ended = err != nil && !errors.Is(err, ErrNothing); ended {
							if !errors.Is(err, io.EOF) {
								t.Error(err)
							}
							s.Close()
							return
						}
						v.watch(Readable)(s)
					})
				}
				if got != text {
					t.Errorf("read %q", got)
				}
			})
		})
	}
}

// departures are the ways in which a client leaves.
var departures = map[string]func(net.Conn) error{
	"closes":       net.Conn.Close,
	"half-closes":  func(c net.Conn) error { return c.(interface{ CloseWrite() error }).CloseWrite() },
	"resets":       func(c net.Conn) error { c.(*net.TCPConn).SetLinger(0); return c.Close() },
	"closes later": func(c net.Conn) error { go c.Close(); return nil },
}

// Gone is not reported for bytes, which stay in the kernel.
func TestGone(t *testing.T) {
	l := newLot(t)
	if l.poller == nil {
		t.Skip("there is no poller on this system")
	}
	for name, depart := range departures {
		for _, early := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				server, client := openTCP(t)
				fence, fenceClient := openTCP(t)
				v, w := visit(t, l, server), visit(t, l, fence)
				w.begin(Readable)
				if !early {
					v.begin(Gone)
				}
				if _, err := client.Write([]byte("pipelined")); err != nil {
					t.Fatal(err)
				}
				write(t, fenceClient, "x")
				w.readAll("x")
				w.leave()
				if early { // it leaves before the watch
					if err := depart(client); err != nil {
						t.Fatal(err)
					}
					v.begin(Gone)
				} else {
					v.rests()
					if err := depart(client); err != nil {
						t.Fatal(err)
					}
				}
				v.on(Gone, func(s *Spot) {
					buf := make([]byte, 100)
					n, err := s.ReadNow(buf)
					if name != "resets" && (err != nil || string(buf[:n]) != "pipelined") {
						t.Errorf("%q, %v", buf[:n], err)
					}
					if n, err = s.ReadNow(buf); err == nil || errors.Is(err, ErrNothing) {
						t.Errorf("after the end: %d, %v", n, err)
					}
					v.watch(Gone)(s)
				})
				v.leave()
			})
		}
	}
}

// Watch can switch to Readable when a request has already arrived.
func TestWatchSwitchesToReadable(t *testing.T) {
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		server, client := open(t)
		fence, fenceClient := open(t)
		v, w := visit(t, l, server), visit(t, l, fence)
		v.begin(Gone)
		w.begin(Readable)
		if _, err := client.Write([]byte("next")); err != nil {
			t.Fatal(err)
		}
		write(t, fenceClient, "x")
		w.readAll("x")
		w.leave()
		v.rests()
		v.begin(Readable)
		v.readAll("next")
		v.leave()

		// The same with a client that has left.
		server, client = open(t)
		v = visit(t, l, server)
		v.begin(Gone)
		client.Close()
		v.on(Gone, v.watch(Readable))
		v.on(Readable, func(s *Spot) {
			if n, err := s.ReadNow(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("%d, %v", n, err)
			}
			s.Close()
		})
	})
}

// Leave ends the spot, and the caller owns the connection.
func TestLeave(t *testing.T) {
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		server, client := open(t)
		local, remote := server.LocalAddr().String(), server.RemoteAddr().String()
		fence, fenceClient := open(t)
		v, w := visit(t, l, server), visit(t, l, fence)
		v.begin(Readable)
		w.begin(Readable)
		v.spot.Wake()
		v.on(Woken, func(s *Spot) {
			s.Rest(time.Millisecond)
			s.Wake() // too late
			var err error
			if server, err = s.Leave(); err != nil {
				t.Error(err)
			}
		})
		v.spot.Wake()
		if _, err := client.Write([]byte("for the new owner")); err != nil {
			t.Fatal(err)
		}
		write(t, fenceClient, "x")
		w.readAll("x")
		w.leave()
		v.rests()
		buf := make([]byte, 100)
		server.SetReadDeadline(time.Now().Add(patience))
		if n, err := server.Read(buf); err != nil || string(buf[:n]) != "for the new owner" {
			t.Errorf("%q, %v", buf[:n], err)
		}
		if server.LocalAddr().String() != local || server.RemoteAddr().String() != remote {
			t.Errorf("the connection is another: %v to %v", server.LocalAddr(), server.RemoteAddr())
		}
		// It can be parked again.
		again := visit(t, l, server)
		again.begin(Readable)
		write(t, client, "back")
		again.readAll("back")
		again.leave()
		v.rests()
	})
}

// After Park, only the spot has the connection, and the connection ends with it.
func TestParkTakesOver(t *testing.T) {
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		server, client := open(t)
		before := inboxtest.Descriptors()
		v := visit(t, l, server)
		if parkable(server) == nil { // otherwise the spot continues to use it
			if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a write to the parked connection: %v", err)
			}
		}
		v.begin(Readable)
		v.spot.Wake()
		v.on(Woken, func(s *Spot) {
			if _, err := s.Read(make([]byte, 1), time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a read of nothing: %v", err)
			}
			v.watch(Readable)(s)
		})
		v.rests()
		if after := inboxtest.Descriptors(); after > before {
			t.Errorf("%d descriptors while it rests, %d before", after, before)
		}
		write(t, client, "still watched")
		v.readAll("still watched")
		v.leave()
		client.SetReadDeadline(time.Now().Add(patience))
		if n, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after the spot was closed, its client reads %d, %v", n, err)
		}
	})
}

// Leave fails for a connection that was reset.
func TestLeaveReset(t *testing.T) {
	l := newLot(t)
	if l.poller == nil {
		t.Skip("there is no poller on this system")
	}
	server, client := openTCP(t)
	v := visit(t, l, server)
	v.begin(Gone)
	client.(*net.TCPConn).SetLinger(0)
	client.Close()
	v.on(Gone, func(s *Spot) {
		if c, err := s.Leave(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v, %v", c, err)
		}
		// Calls after the end do not affect another connection.
		other, _ := openTCP(t)
		if n, err := s.ReadNow(make([]byte, 1)); err == nil || errors.Is(err, ErrNothing) {
			t.Errorf("read %d, %v", n, err)
		}
		if err := s.Write([]byte("x"), time.Minute); err == nil {
			t.Error("a write succeeded")
		}
		if _, err := other.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	})
}

// Parking a closed connection fails.
func TestParkClosed(t *testing.T) {
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		server, _ := open(t)
		server.Close()
		if _, err := l.Park(server, func(*Spot, Events) { t.Error("the function runs") }); err == nil {
			t.Error("a closed connection was parked")
		}
		l.WakeAll()
	})
}

// The kernel reuses descriptors immediately, but the Lot never reuses the number of a
// spot.
func TestDescriptorReuse(t *testing.T) {
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		var old *visitor
		for range 50 {
			server, client := open(t)
			v := visit(t, l, server)
			v.begin(Readable)
			if old != nil {
				l.post(old.spot.id, Readable|Gone|Timeout) // a late event
				if old.spot.id == v.spot.id {
					t.Fatal("a spot's number was reused")
				}
			}
			v.rests()
			write(t, client, "mine")
			v.readAll("mine")
			v.spot.Wake()
			go client.Close() // an event that may come too late
			v.on(^Events(0), (*Spot).Close)
			old = v
		}
	})
	if n := inboxtest.Descriptors(); n == 0 {
		t.Log("the number of descriptors is unknown here")
	}
}
