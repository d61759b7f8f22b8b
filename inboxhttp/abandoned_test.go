package inboxhttp_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

// Section 4.1: a pop removes a message only after it has flushed the answer to a live
// connection.

// TestAbandonedLongPolls abandons 1,000 long polls, half of them one at a time and half
// in groups that are already parked. No message that is sent afterwards may be lost.
func TestAbandonedLongPolls(t *testing.T) {
	noLeaks(t, func() {
		t.Run("TCP", func(t *testing.T) {
			s := start(t, config{sockets: true})
			lost := abandoned(s, "", 500, 1, false) + abandoned(s, "", 250, 125, true)
			lost += abandoned(s, "?after=0", 100, 1, false) + abandoned(s, "?after=0", 150, 150, true)
			t.Logf("%d of 1000 messages that followed an abandoned long poll were lost", lost)
			if lost > 0 {
				t.Errorf("%d messages were lost", lost)
			}
		})
		t.Run("TLS", func(t *testing.T) {
			s := start(t, config{sockets: true, tls: true})
			if lost := abandoned(s, "", 60, 10, false); lost > 0 {
				t.Errorf("%d messages were lost", lost)
			}
		})
		t.Run("Unix", func(t *testing.T) {
			s := start(t, config{sockets: true, unix: true})
			lost := abandoned(s, "", 60, 1, false) + abandoned(s, "", 60, 30, true) + abandoned(s, "?after=0", 60, 30, true)
			if lost > 0 {
				t.Errorf("%d messages were lost", lost)
			}
		})
		t.Run(twoServers.name, func(t *testing.T) {
			twoServers.run(t, twoServers.config, func(s *server) {
				lost := abandoned(s, "", 100, 10, false) + abandoned(s, "", 50, 50, true) + abandoned(s, "?after=0", 50, 50, true)
				if lost > 0 {
					t.Errorf("%d messages were lost", lost)
				}
			})
		})
	})
}

// abandoned lets n clients wait, atOnce of them together, and then leave. It sends each
// of them a message, polls for it over another connection and returns how many messages
// are missing.
func abandoned(s *server, query string, n, atOnce int, parked bool) (lost int) {
	s.Helper()
	for first := 0; first < n; first += atOnce {
		clients := make([]*rawClient, atOnce)
		name := func(i int) string { return fmt.Sprintf("alice%s-%v-%d", query, parked, first+i) }
		before := s.parked.Load()
		for i := range clients {
			clients[i] = s.rawClient()
			clients[i].wait(name(i), query, false)
		}
		if parked {
			inboxtest.Until(s, "all are parked", func() bool { return s.parked.Load() >= before+int64(atOnce) })
		}
		for i, c := range clients {
			leavings[(first+i)%len(leavings)].leave(c)
			s.send("bob", name(i), "follows "+name(i))
		}
		for i, c := range clients {
			if a := s.poll(name(i)); a.status != http.StatusOK || a.body != "follows "+name(i) {
				s.Logf("%s, %s: got %d", name(i), leavings[(first+i)%len(leavings)].name, a.status)
				lost++
			}
			c.Close()
		}
	}
	return lost
}

// The server notices the reset of an HTTP/2 stream only when it reads it. A pop that is
// written before then can be lost. An acknowledged poll must lose nothing.
func TestAbandonedStreams(t *testing.T) {
	overEach(t, http2Wires, config{}, func(s *server) {
		for _, query := range []string{"", "?after=0"} {
			n, lost := s.times(100), 0
			for i := range n {
				id := fmt.Sprint("alice-", i, query)
				p := s.wait(id, query)
				p.leave() // the reset goes out a little later
				s.send("bob", id, "hello")
				<-p.done
				if query == "" && p.err == nil {
					continue // the answer arrived before the client left
				}
				s.settle()
				if a := s.poll(id); a.status != http.StatusOK {
					lost++
				}
			}
			s.Logf("GET %s: %d of %d messages that followed an abandoned stream were lost", query, lost, n)
			if query != "" && lost > 0 {
				s.Error("unacknowledged messages were lost")
			}
		}
	})
}

// A client that leaves between the look and the delivery leaves its message in the inbox.
func TestClientLeavesDuringDelivery(t *testing.T) {
	overEach(t, []wire{tcp, overTLS, overUnix, twoServers}, config{}, func(s *server) {
		for _, parked := range []bool{false, true} {
			for _, way := range leavings {
				if parked && strings.HasPrefix(s.url, "https:") {
					continue // connections over TLS are not parked
				}
				id := fmt.Sprint(way.name, ", parked ", parked)
				c := s.rawClient()
				s.store.hook(func(_ string, found int) {
					if found > 0 {
						way.leave(c)
						c.untilKnown()
					}
				})
				c.wait(id, "", parked)
				s.send("bob", id, "precious")
				if n, _ := io.Copy(io.Discard, c.Conn); n > 0 {
					s.Errorf("%s: %d bytes were written to a client that had left", id, n)
				}
				s.store.hook(nil)
				s.poll(id).wantMessage("bob", "precious")
				s.poll(id).want(http.StatusNoContent)
			}
		}
	})
}

// A client that closes without reading a flushed answer resets the connection: the
// message stays.
func TestResetAfterTheFlush(t *testing.T) {
	for _, way := range leavings[:2] { // a half-closed client keeps reading
		for _, body := range []string{"precious", strings.Repeat("precious", 8<<10)} {
			t.Run(fmt.Sprintf("%s, %d bytes", way.name, len(body)), func(t *testing.T) {
				flushed := make(chan func(), 1)
				overTCP(t, config{wrap: afterFlush(flushed)}, func(s *server) {
					if s.rawClient().isLocal() && len(body) < 4<<10 {
						return // the kernel does not report unread bytes here
					}
					s.open("alice")
					s.send("bob", "alice", body)
					c := s.rawClient()
					flushed <- func() {
						c.untilArrived()
						if way.name == "closes" || c.isLocal() {
							c.closeUnread()
							return
						}
						way.leave(c)
						c.untilKnown()
					}
					c.ask("alice", "?wait=0", "")
					inboxtest.Until(s, "the handler has returned", func() bool { return s.inside.Load() == 0 && len(flushed) == 0 })
					s.poll("alice").wantMessage("bob", body)
				})
			})
		}
	}
}

// A client like curl, which closes as soon as it has read its answer, receives each
// message once.
func TestClosedAfterReading(t *testing.T) {
	overTCP(t, config{}, func(s *server) {
		for _, more := range []string{"", "Connection: close\r\n"} {
			for i := range 12 {
				parked := i < 2
				id := fmt.Sprint("alice-", i, " ", more == "")
				c := s.rawClient()
				before := s.parked.Load()
				c.ask(id, "", more)
				s.store.untilReceivers(id, 1, nil)
				if parked {
					inboxtest.Until(s, "the connection is parked", func() bool { return s.parked.Load() > before })
				}
				s.send("bob", id, "read")
				c.answer(http.MethodGet).wantMessage("bob", "read")
				c.Close()
				inboxtest.Until(s, "the message has left", func() bool { return s.held(id) == 0 })
			}
		}
	})
}

// With Connection: close, the end of an answer goes out only after its message has left
// the inbox, so that the client's next connection cannot receive it again.
func TestPopsOverOneConnectionEach(t *testing.T) {
	overTCP(t, config{}, func(s *server) {
		s.open("alice")
		for i := range s.times(200) {
			s.send("bob", "alice", fmt.Sprint(i))
			c := s.rawClient()
			c.ask("alice", "?wait=0", "Connection: close\r\n")
			c.answer(http.MethodGet).wantMessage("bob", fmt.Sprint(i))
			c.Close()
		}
	})
}

// afterFlush wraps a handler so that each flush calls the next function, if there is one.
func afterFlush(next <-chan func()) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(&flusher{w, next}, r)
		})
	}
}

type flusher struct {
	http.ResponseWriter
	next <-chan func()
}

func (f *flusher) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func (f *flusher) FlushError() error {
	err := http.NewResponseController(f.ResponseWriter).Flush()
	select {
	case do := <-f.next:
		do()
	default:
	}
	return err
}
