package inboxhttp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inbox/inboxhttp"
	"inbox/internal/flight"
	"inbox/internal/inboxtest"
	"inbox/internal/park"
)

// smallBuffers makes the kernel buffer only little for a client that does not read.
func smallBuffers(srv *http.Server) {
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		c.(*net.TCPConn).SetWriteBuffer(4 << 10)
		return park.ConnContext(ctx, c)
	}
}

// stuckPoll requests all messages and reads nothing of the answer.
func (s *server) stuckPoll(id string) *rawClient {
	s.Helper()
	c := s.rawClient()
	c.tcp().SetReadBuffer(4 << 10)
	c.ask(id, "?wait=0&after=0", "Accept: application/json\r\n")
	return c
}

// Section 9: beyond the bytes in flight, requests get 503 and sockets close with 1013,
// while small requests still work.
func TestBytesInFlightAreBounded(t *testing.T) {
	t.Parallel()
	budget := flight.New(100 << 10)
	s := start(t, config{sockets: true, Config: inboxhttp.Config{InFlight: budget}, tune: smallBuffers})
	s.open("alice", "carol", "dave")
	large := strings.Repeat("\x01", 60<<10)
	s.send("bob", "alice", large)
	s.send("bob", "carol", "small")
	stuck := s.stuckPoll("alice")
	inboxtest.Until(t, "the answer is counted", func() bool { return budget.Used() >= 60<<10 })

	for name, try := range map[string]func() answer{
		"an answer in JSON": func() answer { return s.getJSON("alice", "?after=0&wait=0") },
		"a raw answer":      func() answer { return s.get("alice", "?after=0&wait=0") },
		"a pop":             func() answer { return s.poll("alice") },
		"a stream": func() answer {
			return s.do(request{id: "alice", query: "?after=0", header: http.Header{"Accept": {"text/event-stream"}}})
		},
		"a body":         func() answer { return s.post("bob", "carol", large) },
		"a chunked body": func() answer { return s.do(unsized("bob", "carol", large)) },
	} {
		a := try().wantProblem("server-full")
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q", name, a.status, a.header.Get("Retry-After"))
		}
	}
	w := s.socket("dave", "")
	w.send("carol", strings.Repeat("x", 40<<10), "")
	w.wantClose(1013)
	w = s.socket("alice", "?after=0")
	w.wantClose(1013)

	s.send("bob", "carol", "also small")
	s.getJSON("carol", "?after=0").wantBodies("small", "also small")
	w = s.socket("carol", "?after=0")
	w.wantMessages("bob", "small", "also small")
	w.conn.Close()
	if n := s.held("alice"); n != 1 {
		t.Errorf("the inbox has %d messages, want the refused one", n)
	}

	stuck.Close()
	inboxtest.Until(t, "nothing is in flight", func() bool { return budget.Used() == 0 })
	s.send("bob", "carol", large)
	s.poll("alice").wantMessage("bob", large)
}

func unsized(from, to, body string) request {
	r := sending(from, to, "")
	r.body = struct{ io.Reader }{strings.NewReader(body)}
	return r
}

// The bytes of a request or message are returned to the budget however it ends.
func TestBytesInFlightAreReturned(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		budget := flight.New(0)
		s := start(t, config{sockets: true, tls: tls, Config: inboxhttp.Config{InFlight: budget}})
		s.open("alice")
		body := strings.Repeat("x", 60<<10)
		whole := plain(http.MethodPost, "?to=alice", "bob", body)
		for _, cut := range []int{len(whole) - 50<<10, len(whole) - 1} {
			c := s.rawClient()
			c.write(whole[:cut])
			c.Close()
		}
		for _, parts := range [][][]byte{
			{text(body)[:50<<10]}, {frame(opText, body), frame(0, body)[:20<<10]}, {frame(opText, body)},
		} {
			w := s.socket("carol", "")
			w.write(parts...)
			w.conn.Close()
		}
		s.post("bob", "alice", body).want(http.StatusOK)
		s.post("bob", "nobody", body).wantProblem("no-such-inbox")
		s.poll("alice").wantMessage("bob", body)
		inboxtest.Until(t, "nothing is in flight", func() bool { return budget.Used() == 0 })
	}
}

// A large message arrives whole, no matter how slowly it comes and which parts of it wait
// in the kernel.
func TestLargeMessagesInParts(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		s := start(t, config{sockets: true, tls: tls, Config: inboxhttp.Config{MaxBody: 300 << 10}})
		s.open("alice")
		var pattern strings.Builder
		for i := 0; pattern.Len() < 250<<10; i++ {
			pattern.WriteString("line " + strings.Repeat("x", i%7) + "\n")
		}
		body := pattern.String()
		send := text(sendText("alice", body, ""))
		for _, step := range []int{len(send), 100_000, 9_000} {
			w := s.socket("bob", "")
			for rest := send; len(rest) > 0; {
				n := min(step, len(rest))
				w.write(rest[:n])
				rest = rest[n:]
			}
			w.wantSent("", false)
			s.poll("alice").wantMessage("bob", body)

			c := s.rawClient()
			post := plain(http.MethodPost, "?to=alice", "bob", body)
			for rest := post; len(rest) > 0; {
				n := min(step, len(rest))
				c.write(rest[:n])
				rest = rest[n:]
			}
			c.answer(http.MethodPost).want(http.StatusOK)
			s.poll("alice").wantMessage("bob", body)
		}
		// In fragments of all sizes, followed by another message.
		w := s.socket("bob", "")
		payload, out := sendText("alice", body, ""), bytes.Buffer{}
		for at, size := 0, 1; at < len(payload); at, size = at+size, size*3 {
			size = min(size, len(payload)-at)
			first := byte(0)
			if at == 0 {
				first = opText
			}
			if at+size == len(payload) {
				first |= fin
			}
			out.Write(frame(first, payload[at:at+size]))
		}
		out.Write(text(sendText("alice", "the next", "")))
		w.write(out.Bytes())
		w.wantSent("", false)
		w.wantSent("", false)
		s.poll("alice").wantMessage("bob", body)
		s.poll("alice").wantMessage("bob", "the next")
	}
}

// Clients that pause within a message make room for others: the server gives up the one
// that has paused longest.
func TestPausedMessagesMakeRoom(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run("bodies"+protocolName(http2), func(t *testing.T) {
			inBubble(t, config{http2: http2, Config: inboxhttp.Config{InFlight: flight.New(64 << 20)}}, func(s *server) {
				s.open("alice")
				// The shared memory is 2 MiB, and each body takes 48 KiB of it.
				var all []*pending
				for i := range 60 {
					r := sending(fmt.Sprint("peer-", i), "alice", "")
					r.body = slowly(s, strings.Repeat("x", 56<<10))
					all = append(all, s.start(r))
					time.Sleep(20 * time.Millisecond)
				}
				s.send("bob", "alice", strings.Repeat("y", 64<<10))
				synctest.Wait()
				for i, p := range all {
					select {
					case <-p.done:
						if i >= 25 {
							s.Errorf("body %d was given up before an older one", i)
						}
					default:
						if i < 15 {
							s.Errorf("body %d was not given up", i)
						}
					}
				}
				for _, p := range all {
					p.answer().wantProblem("too-slow")
				}
				s.poll("alice").wantMessage("bob", strings.Repeat("y", 64<<10))
			})
		})
	}
	for name, step := range map[string]int{"one fragment": 56 << 10, "small fragments": 1 << 10} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{Config: inboxhttp.Config{InFlight: flight.New(64 << 20)}}, func(s *server) {
				var all []*webSocket
				message := sendText("nobody", strings.Repeat("x", 60<<10), "")
				const most = 56 << 10
				for i := range 60 {
					w := s.socket(fmt.Sprint("peer-", i), "")
					for at := 0; at < most; at += step {
						first := byte(0)
						if at == 0 {
							first = opText
						}
						w.write(frame(first, message[at:at+step]))
					}
					all = append(all, w)
					time.Sleep(20 * time.Millisecond)
				}
				for _, w := range all[:15] {
					w.wantClose(1013)
				}
				for _, w := range all[25:] {
					w.write(frame(fin, message[most:]))
					w.wantError("", "no-such-inbox")
				}
			})
		})
	}
}

// A client that reads one byte now and then is cut off at the deadline for an answer,
// however many pieces the answer has.
func TestTricklingReader(t *testing.T) {
	const most, slack = 10 * time.Second, 5 * time.Second
	body := strings.Repeat("\x01", 64<<10)
	trickle := func(s *server, c net.Conn) time.Duration {
		begin, one := time.Now(), make([]byte, 1)
		for {
			if _, err := c.Read(one); err != nil {
				return time.Since(begin)
			}
			if time.Since(begin) > most+slack {
				s.Fatalf("the connection is still open after %v", time.Since(begin))
			}
			time.Sleep(100 * time.Millisecond) // the reader's pace
		}
	}
	t.Run("a stream and a socket", func(t *testing.T) {
		inBubble(t, config{}, func(s *server) {
			s.open("alice")
			for range 10 {
				s.send("bob", "alice", body)
			}
			conn := s.raw()
			io.WriteString(conn, "GET /inbox?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: "+basic("alice:"+passwordOf("alice"))+"\r\nAccept: text/event-stream\r\n\r\n")
			trickle(s, conn)
			conn = s.raw()
			io.WriteString(conn, "GET /inbox?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: "+basic("alice:"+passwordOf("alice"))+
				"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: inbox.v1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			trickle(s, conn)
		})
	})
	// A poll parks only over a real connection, where the kernel buffers part of the
	// answer. So check the server's side: it must give up the answer.
	t.Run("a long poll", func(t *testing.T) {
		t.Parallel()
		budget := flight.New(0)
		s := start(t, config{sockets: true, Config: inboxhttp.Config{InFlight: budget}, tune: smallBuffers})
		c := s.rawClient()
		c.tcp().SetReadBuffer(4 << 10)
		c.wait("alice", "?after=0", true, "Accept: application/json\r\n")
		s.send("bob", "alice", body)
		inboxtest.Until(t, "the answer is on its way", func() bool { return budget.Used() > 0 })
		begin, one := time.Now(), make([]byte, 1)
		for budget.Used() > 0 {
			if time.Since(begin) > most+slack {
				t.Fatalf("the answer is still on its way after %v", time.Since(begin))
			}
			c.Conn.Read(one)
			time.Sleep(100 * time.Millisecond) // the reader's pace
		}
	})
}
