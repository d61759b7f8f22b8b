package inboxhttp_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// A socket that misbehaves does not affect others.

// misbehaviours are what a client may do with an open socket.
var misbehaviours = []struct {
	name string
	do   func(w *webSocket, random *rand.Rand)
}{
	{"vanishes", func(w *webSocket, _ *rand.Rand) { w.conn.Close() }},
	{"resets", func(w *webSocket, _ *rand.Rand) { tcpOf(w.conn).SetLinger(0); w.conn.Close() }},
	{"half-closes", func(w *webSocket, _ *rand.Rand) { tcpOf(w.conn).CloseWrite() }},
	{"sends and vanishes", func(w *webSocket, _ *rand.Rand) { w.write(text(sendText("nobody", "x", ""))); w.conn.Close() }},
	{"half a frame", func(w *webSocket, _ *rand.Rand) { w.write(announced(fin|opText, 1000)); w.conn.Close() }},
	{"stalls within a frame", func(w *webSocket, _ *rand.Rand) { w.write(announced(fin|opText, 1000)) }},
	{"stalls within a message", func(w *webSocket, _ *rand.Rand) { w.write(frame(opText, "{")) }},
	{"sends a close frame and stays", func(w *webSocket, _ *rand.Rand) { w.write(frame(fin|opClose, "\x03\xe8")) }},
	{"noise", func(w *webSocket, random *rand.Rand) {
		b := make([]byte, 1+random.IntN(5000))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		w.write(b)
	}},
	{"protocol errors", func(w *webSocket, random *rand.Rand) { w.write(closes[random.IntN(len(closes))].frames) }},
	{"sends a lot", func(w *webSocket, _ *rand.Rand) {
		for range 50 {
			w.write(text(sendText("alice", strings.Repeat("x", 1000), "")))
		}
	}},
	{"pings a lot", func(w *webSocket, _ *rand.Rand) {
		for range 300 {
			w.write(frame(fin|opPing, strings.Repeat("x", 125)))
		}
	}},
}

func tcpOf(c net.Conn) *net.TCPConn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn().(*net.TCPConn)
	}
	return c.(*net.TCPConn)
}

// Meanwhile two other peers exchange messages and lose nothing. Afterwards nothing is
// left of the sockets that misbehaved.
func TestSocketsThatMisbehave(t *testing.T) {
	aloneOverEach(t, socketWires[1:], config{}, func(s *server) {
		a, b := s.socket("well", ""), s.socket("behaved", "")
		s.noLeaks(func() {
			var all sync.WaitGroup
			var mu sync.Mutex
			var sockets []*webSocket
			for i, m := range misbehaviours {
				all.Go(func() {
					random := rand.New(rand.NewPCG(1, uint64(i)))
					for round := range 2 {
						w := s.dialSocket(handshake{id: fmt.Sprintf("%s %d", m.name, round)})
						m.do(w, random)
						mu.Lock()
						sockets = append(sockets, w)
						mu.Unlock()
					}
				})
			}
			for i := range 50 {
				a.send("behaved", fmt.Sprint(i), fmt.Sprint("key-", i))
				a.wantSent(fmt.Sprint("key-", i), false)
				b.say(`{"type":"ack","after":%q}`, b.wantMessages("well", fmt.Sprint(i)))
			}
			all.Wait()
			for _, w := range sockets {
				w.conn.Close()
			}
		})
		a.usable("well")
	})
}

// A client may send a message and vanish without a close frame. The message counts, and
// the socket ends.
func TestSocketSendAndVanish(t *testing.T) {
	aloneOverEach(t, []wire{tcp, twoServers}, config{}, func(s *server) {
		s.open("bob")
		s.noLeaks(func() {
			for i := range 100 {
				w := s.socket(fmt.Sprint("alice-", i), "")
				w.write(text(sendText("bob", fmt.Sprint("last words ", i), "")))
				if i%2 == 0 {
					tcpOf(w.conn).CloseWrite()
					for range w.frames { // until the server closes, too
					}
				}
				w.conn.Close()
			}
		})
		s.untilHeld("bob", 100)
		said := make(map[string]bool)
		for range 100 {
			said[s.poll("bob").want(http.StatusOK).body] = true
		}
		if len(said) != 100 {
			s.Errorf("%d of 100 messages arrived", len(said))
		}
	})
}

// A client that does not read has its socket and its stream dropped, and its messages
// stay. This runs over real connections with all their buffers.
func TestStuckReaders(t *testing.T) {
	t.Parallel()
	c := config{sockets: true}
	c.limits.Bytes, c.limits.Messages, c.MaxBody, c.MaxMessages = 64<<20, 1000, 1<<20, 1000
	s := start(t, c)
	s.open("socket", "stream", "popping")
	conns := []net.Conn{s.raw(), s.raw(), s.raw()}
	for _, conn := range conns {
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	io.WriteString(conns[0], rawHandshake("socket"))
	fmt.Fprintf(conns[1], "GET /inbox?after=0 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: %s\r\n\r\n", basic("stream:"+passwordOf("stream")))
	fmt.Fprintf(conns[2], "GET /inbox HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: %s\r\n\r\n", basic("popping:"+passwordOf("popping")))
	for _, id := range []string{"socket", "stream", "popping"} {
		s.store.untilReceivers(id, 1, nil)
	}
	begin := time.Now()
	body := strings.Repeat("x", 1<<20)
	const many = 20 // MiB, more than the kernel buffers
	for range many {
		s.send("bob", "stream", body)
		s.send("bob", "popping", body)
		s.send("bob", "socket", body)
		s.get("socket", "?limit=0") // limits its window
	}
	// Pings make the server write pongs, which fill what the window leaves free.
	w := &webSocket{TB: t, s: s, conn: conns[0]}
	ping := frame(fin|opPing, strings.Repeat("x", 125))
	go func() {
		for range 200_000 {
			w.conn.SetWriteDeadline(time.Now().Add(s.patience()))
			if _, err := w.conn.Write(ping); err != nil {
				return
			}
		}
	}()
	s.socket("other", "").usable("other") // other peers are not delayed
	for i, conn := range conns {
		// Detect the end by writing, since the client must not read.
		inboxtest.Until(t, fmt.Sprintf("connection %d is dropped", i), func() bool {
			_, err := conn.Write(ping)
			return err != nil
		})
	}
	t.Logf("dropped after %v", time.Since(begin))
	if n := s.held("stream"); n != many {
		t.Errorf("the stream's inbox holds %d messages, want %d", n, many)
	}
	if n := s.held("popping"); n == 0 {
		t.Error("all messages were popped, although the client read none")
	}
	if n := s.held("socket"); n != many {
		t.Errorf("the socket's inbox holds %d messages, want %d", n, many)
	}
}
