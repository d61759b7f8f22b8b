package inboxhttp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"inbox/internal/inboxtest"
	"inbox/internal/park"
)

// Connections fail in all the ways they do on the internet.

// A client that vanishes while it waits costs no goroutine and no descriptor.
func TestVanishedClients(t *testing.T) {
	aloneOverEach(t, []wire{tcp, twoServers}, config{}, func(s *server) {
		for _, parked := range []bool{false, true} {
			s.noLeaks(func() {
				clients, before := make([]*rawClient, 90), s.parked.Load()
				for i := range clients {
					clients[i] = s.rawClient()
					clients[i].wait(fmt.Sprint("peer-", i), "", false)
				}
				if parked {
					inboxtest.Until(s, "all are parked", func() bool { return s.parked.Load() >= before+int64(len(clients)) })
				}
				for i, c := range clients {
					leavings[i%len(leavings)].leave(c)
					if leavings[i%len(leavings)].name == "half-closes" {
						io.Copy(io.Discard, c.Conn) // until the server closes, too
						c.Close()
					}
				}
			})
			s.settle()
		}
	})
}

// An incomplete request has no effect. In particular, half a message is not a message.
func TestIncompleteRequests(t *testing.T) {
	whole := plain(http.MethodPost, "?to=alice", "bob", "half of a message")
	chunked := strings.Replace(whole, "Content-Length: 17", "Transfer-Encoding: chunked", 1)
	chunked = strings.Replace(chunked, "half of a message", "8\r\nhalf of \r\n9\r\na message\r\n0\r\n\r\n", 1)
	get := plain(http.MethodGet, "?wait=0", "alice", "")
	noLeaks(t, func() {
		aloneOverEach(t, []wire{tcp, twoServers}, config{}, func(s *server) {
			s.open("alice")
			for _, text := range []string{whole, chunked, get} {
				for n := 1; n < len(text); n += 7 {
					for _, way := range leavings {
						c := s.rawClient()
						c.write(text[:n])
						way.leave(c)
						if way.name == "half-closes" {
							io.Copy(io.Discard, c.Conn) // an error or nothing
						}
						c.Close()
					}
				}
			}
			s.settle()
			if n := s.held("alice"); n > 0 {
				s.Errorf("incomplete requests sent %d messages", n)
			}
			s.send("bob", "alice", "a whole message")
			s.poll("alice").wantMessage("bob", "a whole message")
		})
	})
}

// The server cuts off a client that does not read its answer, which frees the goroutine.
func TestReaderThatNeverReads(t *testing.T) {
	t.Parallel()
	s := start(t, config{sockets: true, tune: func(srv *http.Server) {
		srv.WriteTimeout = 300 * time.Millisecond
		srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			c.(*net.TCPConn).SetWriteBuffer(4 << 10)
			return park.ConnContext(ctx, c)
		}
	}})
	s.open("alice")
	body := strings.Repeat("x", 64<<10)
	for range 16 {
		s.send("bob", "alice", body)
	}
	for _, query := range []string{"?wait=0&after=0", "?wait=0"} {
		c := s.rawClient()
		c.tcp().SetReadBuffer(4 << 10)
		c.ask("alice", query, "Accept: application/json\r\n")
		inboxtest.Until(t, "the request has arrived", func() bool { return s.inside.Load() == 1 })
		inboxtest.Until(t, "the goroutine is free", func() bool { return s.inside.Load() == 0 })
	}
	if n := s.held("alice"); n != 16 {
		t.Errorf("%d messages are left, want all 16", n)
	}
}

// Pipelined requests are answered in order.
func TestPipelined(t *testing.T) {
	overTCP(t, config{}, func(s *server) {
		c := s.rawClient()
		post, get := plain(http.MethodPost, "?to=alice", "alice", "one"), plain(http.MethodGet, "?wait=0", "alice", "")
		c.write(get + post + get + get + plain(http.MethodDelete, "", "alice", "") + post + get)
		c.answer(http.MethodGet).want(http.StatusNoContent)
		c.answer(http.MethodPost).want(http.StatusOK)
		c.answer(http.MethodGet).wantMessage("alice", "one")
		c.answer(http.MethodGet).want(http.StatusNoContent)
		c.answer(http.MethodDelete).want(http.StatusNoContent)
		c.answer(http.MethodPost).want(http.StatusOK)
		c.answer(http.MethodGet).wantMessage("alice", "one")
	})
}

// A request may be pipelined behind one that waits, parked or not.
func TestPipelinedBehindAWait(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]bool{"together": false, "while it waits": true} {
		t.Run(name, func(t *testing.T) {
			overTCP(t, config{}, func(s *server) {
				c := s.rawClient()
				more := plain(http.MethodGet, "?wait=0", "alice", "") + plain(http.MethodPost, "?to=bob", "alice", "two")
				if !later {
					c.write(plain(http.MethodGet, "", "alice", "") + more)
					s.store.untilReceivers("alice", 1, nil)
					inboxtest.Until(s, "the connection is parked", func() bool { return s.parked.Load() > 0 })
				} else {
					c.wait("alice", "", true)
					c.write(more[:20])
					c.write(more[20:])
				}
				s.send("bob", "alice", "one")
				c.answer(http.MethodGet).wantMessage("bob", "one")
				c.answer(http.MethodGet).want(http.StatusNoContent)
				c.answer(http.MethodPost).want(http.StatusOK)
				s.poll("bob").wantMessage("alice", "two")
			})
		})
	}
}

// A connection that was parked serves its next request and can be parked again, however
// the wait ended.
func TestParkedConnectionIsReused(t *testing.T) {
	overTCP(t, config{}, func(s *server) {
		c := s.rawClient()
		c.wait("alice", "", true)
		s.send("bob", "alice", "one")
		c.answer(http.MethodGet).wantMessage("bob", "one")

		c.wait("alice", "?after=0", true)
		newer := s.rawClient()
		newer.ask("alice", "?after=0&wait=1", "")
		c.answer(http.MethodGet).wantProblem("replaced")
		newer.answer(http.MethodGet).want(http.StatusNoContent)

		c.wait("alice", "", true)
		s.do(request{method: http.MethodDelete, id: "alice"})
		c.answer(http.MethodGet).wantProblem("closed")

		c.wait("alice", "?wait=1", true)
		c.answer(http.MethodGet).want(http.StatusNoContent).cursor() // nothing arrived

		c.write(plain(http.MethodPost, "?to=alice", "alice", "to herself"))
		c.answer(http.MethodPost).want(http.StatusOK)
		c.ask("alice", "", "")
		c.answer(http.MethodGet).wantMessage("alice", "to herself")
	})
}

// A page of another origin can read the same headers whether or not the answer was
// parked.
func TestParkedAnswersCarryTheSameHeaders(t *testing.T) {
	overTCP(t, config{}, func(s *server) {
		header := http.Header{"Origin": {"https://app.example"}}
		s.open("alice")
		s.send("bob", "alice", "at once", "later")
		atOnce := s.do(request{id: "alice", header: header}).wantMessage("bob", "at once")
		s.poll("alice").wantMessage("bob", "later")
		receivers := s.store.receivers("alice")
		p := s.start(request{id: "alice", header: header})
		s.store.untilReceivers("alice", receivers+1, p.done)
		inboxtest.Until(s, "the connection is parked", func() bool { return s.parked.Load() > 0 })
		s.send("bob", "alice", "later")
		later := p.answer().wantMessage("bob", "later")
		for name := range atOnce.header {
			if _, ok := later.header[name]; !ok {
				s.Errorf("%s is missing after a wait", name)
			}
		}
		for name := range later.header {
			if _, ok := atOnce.header[name]; !ok {
				s.Errorf("%s is present only after a wait", name)
			}
		}
	})
}

// An answer over HTTP/1.0 is not chunked, and the connection closes after it.
func TestHTTP10(t *testing.T) {
	overTCP(t, config{Config: maxWait(time.Second)}, func(s *server) {
		for _, query := range []string{"?wait=0", "", "?after=0"} {
			s.open("alice")
			s.send("bob", "alice", "hello")
			c := s.rawClient()
			c.write(strings.Replace(plain(http.MethodGet, query, "alice", ""), "HTTP/1.1", "HTTP/1.0", 1))
			a := c.answer(http.MethodGet).wantMessage("bob", "hello")
			if a.header.Get("Transfer-Encoding") != "" {
				s.Error("the answer is chunked")
			}
			if _, err := c.r.ReadByte(); err != io.EOF {
				s.Errorf("the connection is still open: %v", err)
			}
		}
		c := s.rawClient()
		c.write(strings.Replace(plain(http.MethodGet, "", "carol", ""), "HTTP/1.1", "HTTP/1.0", 1))
		c.answer(http.MethodGet).want(http.StatusNoContent)
	})
}

// The connection is reset while its message is delivered. An acknowledging client loses
// nothing. A pop may lose a message that was flushed to a connection that still seemed
// open: the test reports how many.
func TestResetDuringDelivery(t *testing.T) {
	overTCP(t, config{}, func(s *server) {
		n, lost := s.times(200), 0
		for i := range n {
			popper, reader := fmt.Sprint("popper-", i), fmt.Sprint("reader-", i)
			a, b := s.rawClient(), s.rawClient()
			a.wait(popper, "", false)
			b.wait(reader, "?after=0", false)
			var both sync.WaitGroup
			both.Go(func() { leavings[i%2].leave(a) })
			both.Go(func() { leavings[i%2].leave(b) })
			s.send("bob", popper, "x")
			s.send("bob", reader, "x")
			both.Wait()
			inboxtest.Until(s, "the handlers have returned", func() bool { return s.inside.Load() == 0 })
			if s.poll(popper).status != http.StatusOK {
				lost++
			}
			s.get(reader, "?after=0&wait=0").wantMessage("bob", "x")
		}
		s.Logf("messages sent while their reader left: %d of %d popped ones lost, 0 of %d acknowledged ones", lost, n, n)
	})
}

// An HTTP stack that retries a GET (RFC 9110, 9.2.2) receives the same messages again if
// it acknowledges.
func TestRetriedGet(t *testing.T) {
	overTCP(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one", "two")
		for range 3 {
			c := s.rawClient()
			c.ask("alice", "?after=0", "Accept: application/json\r\n")
			c.r.Peek(1) // part of the answer arrives, then the connection breaks
			c.reset()
		}
		s.getJSON("alice", "?after=0").wantBodies("one", "two")
	})
}

// From the third identical request on, the server no longer parses it. Everything else
// must stay the same: delivery, replacement, errors and other requests in between.
func TestRepeatedRequest(t *testing.T) {
	t.Parallel()
	t.Run("pop", func(t *testing.T) { t.Parallel(); sameRequestAgain(t, "") })
	t.Run("acknowledged", func(t *testing.T) { t.Parallel(); sameRequestAgain(t, "?after=0") })
}

// A request that exactly fills the read buffer may continue beyond it. The server must
// not spin while that request waits.
func TestRepeatedLongRequest(t *testing.T) {
	for _, size := range []int{2047, 2048, 2049} {
		s := start(t, config{sockets: true})
		c := s.rawClient()
		query := "?x="
		query += strings.Repeat("x", size-len(plain(http.MethodGet, query, "alice", "")))
		for i := range 4 {
			c.wait("alice", query, true)
			inboxtest.Until(t, "the connection rests", func() bool {
				stacks := make([]byte, 1<<20)
				return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "park.(*Spot).loop")
			})
			s.send("bob", "alice", fmt.Sprint(i)) // which it still waits for
			c.answer(http.MethodGet).wantMessage("bob", fmt.Sprint(i))
		}
	}
}

func sameRequestAgain(t *testing.T, query string) {
	const id = "alice"
	s := start(t, config{sockets: true, Config: maxWait(5 * time.Second)})
	acknowledge := func() {
		if query != "" {
			s.get(id, "?limit=0&after="+s.getJSON(id, "?after=0&wait=0").batch().Cursor).want(http.StatusNoContent)
		}
	}
	c := s.rawClient()
	for range 3 {
		c.wait(id, query, true)
		c.answer(http.MethodGet).want(http.StatusNoContent)
	}
	taken := s.parked.Load()
	for _, body := range []string{"one", "two", "three"} {
		c.wait(id, query, true)
		s.send("bob", id, body)
		c.answer(http.MethodGet).wantMessage("bob", body)
		acknowledge()
	}
	s.send("bob", id, "sent before")
	c.ask(id, query, "")
	c.answer(http.MethodGet).wantMessage("bob", "sent before")
	acknowledge()

	c.wait(id, query, true)
	newer := s.rawClient()
	newer.ask(id, "?after=0&wait=1", "")
	c.answer(http.MethodGet).wantProblem("replaced")
	newer.answer(http.MethodGet).want(http.StatusNoContent)

	c.wait(id, query, true)
	s.do(request{method: http.MethodDelete, id: id})
	c.answer(http.MethodGet).wantProblem("closed")
	if n := s.parked.Load() - taken; n > 1 { // one of them is newer's
		t.Errorf("the connection was taken from net/http %d more times", n-1)
	}

	// The server does not parse the password again, but it checks it against the inbox,
	// which another peer may have opened meanwhile.
	s.do(request{method: http.MethodDelete, id: id})
	s.do(request{id: id, password: "another", query: "?limit=0"}).want(http.StatusNoContent)
	c.ask(id, query, "")
	c.answer(http.MethodGet).wantProblem("unauthorized")
	s.do(request{method: http.MethodDelete, id: id, password: "another"})

	// Other requests, and this one in parts.
	c.write(plain(http.MethodPost, "?to="+id, id, "to herself"))
	c.answer(http.MethodPost).want(http.StatusOK)
	same := plain(http.MethodGet, query, id, "")
	c.write(same[:10])
	c.write(same[10:])
	c.answer(http.MethodGet).wantMessage(id, "to herself")
}

// A request that differs only in its cursor is not parsed either.
func TestRepeatedRequestWithAnotherCursor(t *testing.T) {
	t.Parallel()
	s := start(t, config{sockets: true, Config: maxWait(5 * time.Second)})
	c := s.rawClient()
	next := "0"
	poll := func(query string) {
		c.wait("alice", "?after="+next+query, true)
		s.send("bob", "alice", "after "+next)
		a := c.answer(http.MethodGet).wantMessage("bob", "after "+next)
		next = a.cursor()
	}
	for _, query := range []string{"", "&limit=1"} {
		poll(query)
		poll(query)
		taken := s.parked.Load()
		for range 3 {
			poll(query)
		}
		if n := s.parked.Load() - taken; n > 0 {
			t.Errorf("%q: the connection was taken from net/http %d more times", query, n)
		}
		if n := s.held("alice"); n != 1 {
			t.Errorf("%q: alice's inbox has %d messages, want only the unacknowledged last one", query, n)
		}
	}

	// Unacknowledged messages arrive again, and malformed cursors are refused.
	last := next
	c.ask("alice", "?after=0&limit=1", "")
	c.answer(http.MethodGet).want(http.StatusOK)
	for _, bad := range []string{"", "1", last[1:], last + "A", "%30", strings.Repeat("A", len(last))} {
		c.wait("alice", "?after="+last+"&limit=1", false)
		s.send("bob", "alice", "one more")
		last = c.answer(http.MethodGet).wantMessage("bob", "one more").cursor()
		c.ask("alice", "?after="+bad+"&limit=1", "")
		if a := c.answer(http.MethodGet); bad == "%30" {
			a.want(http.StatusOK)
		} else {
			a.wantProblem("bad-cursor")
		}
	}

	// A cursor in a header of a request without one has no meaning.
	header := func(cursor string) string { return "X: ?after=" + cursor + " \r\n" }
	s.do(request{method: http.MethodDelete, id: "alice"})
	for range 3 {
		c.wait("alice", "", true, header("0"))
		s.send("bob", "alice", "in time")
		c.answer(http.MethodGet).wantMessage("bob", "in time")
	}
	s.send("bob", "alice", "one", "two")
	second := s.getJSON("alice", "?after=0").batch().Cursor
	for _, body := range []string{"one", "two"} {
		c.ask("alice", "", header(second))
		c.answer(http.MethodGet).wantMessage("bob", body)
	}
}

// A POST and a GET that arrive in one packet are two requests, each time the packet
// repeats.
func TestRepeatedPacket(t *testing.T) {
	overTCP(t, config{Config: maxWait(time.Second)}, func(s *server) {
		c := s.rawClient()
		c.wait("alice", "", true)
		c.answer(http.MethodGet).want(http.StatusNoContent)
		s.open("bob")
		for i := range 3 {
			c.write(plain(http.MethodPost, "?to=bob", "alice", "x") + plain(http.MethodGet, "", "alice", ""))
			c.answer(http.MethodPost).want(http.StatusOK)
			c.answer(http.MethodGet).want(http.StatusNoContent)
			if n := s.held("bob"); n != i+1 {
				s.Fatalf("bob's inbox has %d messages after %d packets", n, i+1)
			}
		}
	})
}
