package client_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"inbox"
	"inbox/client"
)

// scripted replaces all sockets of the server, or only the first. Each runs script after its
// opened frame.
func scripted(t *testing.T, onlyFirst bool, script func(ctx context.Context, conn *websocket.Conn)) config {
	var handshakes atomic.Int32
	return config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !isUpgrade(r) || handshakes.Add(1) > 1 && onlyFirst {
				next.ServeHTTP(w, r)
				return
			}
			conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"inbox.v1"}})
			if err != nil {
				t.Error(err)
				return
			}
			conn.Write(r.Context(), websocket.MessageText, []byte(`{"type":"opened","cursor":"0"}`))
			script(r.Context(), conn)
		})
	}}
}

// How the client reacts to each close code: docs/protocol.md, section 6.
func TestCloseCodes(t *testing.T) {
	const socket, poll = "socket", "long poll"
	for code, want := range map[websocket.StatusCode]any{
		1000: socket,
		1001: socket,
		1002: poll, // frames arrive garbled, or the server does not understand them
		1003: poll,
		1007: poll,
		1008: socket,
		1011: socket,
		1012: socket,
		1013: socket,
		4400: poll,
		4401: inbox.ErrUnauthorized,
		4408: socket,
		4409: inbox.ErrReplaced,
		4410: inbox.ErrClosed,
		4413: socket,
		4429: socket,
		4999: socket,
	} {
		t.Run(fmt.Sprint(int(code)), func(t *testing.T) {
			c := scripted(t, true, func(_ context.Context, conn *websocket.Conn) { conn.Close(code, "for people") })
			inBubble(t, c, func(s *server) {
				s.open("bob")
				s.put("alice", "bob", "hello")
				bob := s.client("bob", client.Config{})
				m, err := bob.Receive(s.Context())
				if want, fails := want.(error); fails {
					wantErr(s, err, want)
					return
				}
				if err != nil || string(m.Body) != "hello" {
					s.Fatalf("received %q, error %v", m.Body, err)
				}
				if got := bob.Transport(); got != want {
					s.Errorf("receives by %q, want %q", got, want)
				}
			})
		})
	}
}

// A server that receives acknowledgements has no reason to ping and may send nothing
// else. The socket stays open.
func TestOnlyAcknowledging(t *testing.T) {
	var sockets atomic.Int32
	c := config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isUpgrade(r) {
				sockets.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	}}
	inBubble(t, c, func(s *server) {
		s.open("bob")
		bob := s.client("bob", client.Config{})
		for i := range 30 {
			s.put("alice", "bob", fmt.Sprint(i))
		}
		for i := range 30 {
			receive(s, bob, fmt.Sprint(i))
			time.Sleep(15 * time.Second)
		}
		if n := sockets.Load(); n != 1 {
			s.Errorf("%d sockets were opened", n)
		}
	})
}

// Messages that exceed the response limit together are fetched one by one.
func TestLargeAnswers(t *testing.T) {
	c := config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Query().Get("limit") == "32" {
				for page := make([]byte, 1<<20); ; { // endless
					if _, err := w.Write(page); err != nil {
						return
					}
				}
			}
			next.ServeHTTP(w, r)
		})
	}}
	inBubble(t, c, func(s *server) {
		s.open("bob")
		s.put("alice", "bob", "1", "2")
		receive(s, s.client("bob", client.Config{PollOnly: true}), "1", "2")
	})
}

// A send without confirmation on the socket is retried as a request.
func TestSendWithoutAnswer(t *testing.T) {
	var heard atomic.Int32
	c := scripted(t, false, func(ctx context.Context, conn *websocket.Conn) {
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				return
			}
			heard.Add(1)
		}
	})
	inBubble(t, c, func(s *server) {
		s.open("bob")
		alice := s.client("alice", client.Config{})
		receiving, leave := context.WithCancel(s.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			alice.Receive(receiving)
		}()
		synctest.Wait()
		if got := alice.Transport(); got != "socket" {
			s.Fatalf("receives by %q", got)
		}
		wantErr(s, alice.Send(withTimeout(s, time.Second), "bob", []byte("1")), context.DeadlineExceeded)
		send(s, alice, "bob", "2")
		s.wantInside("bob", "2")
		if n := heard.Load(); n != 2 {
			s.Errorf("%d sends on the socket", n)
		}
		leave()
		<-left
	})
}
