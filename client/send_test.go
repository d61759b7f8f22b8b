package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/client"
)

// bodies are difficult to encode.
var bodies = map[string][]byte{
	"empty":        {},
	"text":         []byte("hello"),
	"quotes":       []byte(strings.Repeat(`"\`, 100)),
	"control":      bytes.Repeat([]byte{0, 1, 31, 127}, 1000),
	"separators":   []byte(strings.Repeat("\u2028\u2029<&>", 500)),
	"emoji":        []byte("👩‍👩‍👧‍👦"),
	"binary":       {0xff, 0xfe, 0, 1, 0x80},
	"large":        bytes.Repeat([]byte("0123456789abcdef"), 4<<10), // 64 KiB
	"large binary": bytes.Repeat([]byte{0xff, 0x80}, 32<<10),
	"large escape": bytes.Repeat([]byte{1}, 64<<10),
}

func TestBodies(t *testing.T) {
	for _, pollOnly := range []bool{false, true} {
		t.Run(fmt.Sprintf("pollOnly=%v", pollOnly), func(t *testing.T) {
			both(t, config{}, func(t *testing.T, s *server) {
				bob := s.client("bob", client.Config{PollOnly: pollOnly})
				s.open("bob")
				for name, body := range bodies {
					// The first sends by request, the second over bob's own socket.
					for _, from := range []*client.Client{s.client("alice", client.Config{}), bob} {
						if err := from.Send(t.Context(), "bob", body); err != nil {
							t.Fatalf("%s: %v", name, err)
						}
						m, err := bob.Receive(t.Context())
						if err != nil || !bytes.Equal(m.Body, body) {
							t.Fatalf("%s: received %d bytes, error %v", name, len(m.Body), err)
						}
					}
				}
			})
		})
	}
}

func TestIDs(t *testing.T) {
	both(t, config{}, func(t *testing.T, s *server) {
		for _, id := range []string{"é", "é", "a b", "a+b", "a%2Fb", "50%", "a&to=b", "你好", "👋", `"<script>"`, "?#/\\", "a;b", strings.Repeat("ü", 256)} {
			c := s.client(id, client.Config{Password: "påss:wörd \x00\xff"})
			if _, err := c.Receive(expired()); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if err := c.Send(t.Context(), id, []byte("to myself")); err != nil {
				t.Fatalf("%q: %v", id, err)
			}
			if m := receive(t, c, "to myself"); m.From != id || m.Time.IsZero() {
				t.Errorf("%q received from %q", id, m.From)
			}
			c.Leave()
		}
	})
}

func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestSendErrors(t *testing.T) {
	both(t, config{}, func(t *testing.T, s *server) {
		for _, socket := range []bool{false, true} {
			alice := s.client(fmt.Sprintf("alice%v", socket), client.Config{})
			s.open("bob", "mallory")
			if socket {
				ready(t, s, alice, fmt.Sprintf("alice%v", socket))
			}
			wantErr(t, alice.Send(t.Context(), "nobody", nil), inbox.ErrNoInbox)
			mallory := s.client("mallory", client.Config{Password: "a guess"})
			wantErr(t, mallory.Send(t.Context(), "bob", nil), inbox.ErrUnauthorized)
			err := alice.Send(t.Context(), "bob", make([]byte, 64<<10+1))
			if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "too-large" || e.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("a large body: %v", err)
			}
			if err := alice.Send(t.Context(), "a:b", nil); err == nil {
				t.Error("sent to an invalid id")
			}
			if err := alice.SendDraft(t.Context(), "bob", inbox.Draft{Key: "a key"}); err == nil {
				t.Error("sent with an invalid key")
			}
			wantErr(t, alice.Send(expired(), "bob", nil), context.Canceled)
			s.wantInside("bob")
			alice.Leave()
		}
	})
}

// ready makes a client receive, and therefore send, over a socket.
func ready(tb testing.TB, s *server, c *client.Client, id string) {
	tb.Helper()
	s.open(id)
	s.put(id, id, "ready")
	receive(tb, c, "ready")
	if got := c.Transport(); got != "socket" {
		tb.Fatalf("receives by %q", got)
	}
}

// A body far above the limit is refused once, before it is transmitted.
func TestMuchTooLarge(t *testing.T) {
	var posts, expecting atomic.Int32
	c := config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				posts.Add(1)
				if r.Header.Get("Expect") == "100-continue" {
					expecting.Add(1)
				}
			}
			next.ServeHTTP(w, r)
		})
	}}
	both(t, c, func(t *testing.T, s *server) {
		posts.Store(0)
		expecting.Store(0)
		s.open("bob")
		transport := s.transport()
		transport.ExpectContinueTimeout = time.Minute
		alice := s.client("alice", client.Config{HTTP: &http.Client{Transport: transport}})
		err := alice.Send(t.Context(), "bob", make([]byte, 16<<20))
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "too-large" {
			t.Error(err)
		}
		if posts.Load() != 1 || expecting.Load() != 1 {
			t.Errorf("%d POSTs, %d of them with Expect", posts.Load(), expecting.Load())
		}
	})
}

// A body too large for a frame must not disable the socket for other messages.
func TestTooLargeForASocket(t *testing.T) {
	c := config{}
	c.MaxBody = 1 << 10
	both(t, c, func(t *testing.T, s *server) {
		alice := s.client("alice", client.Config{})
		ready(t, s, alice, "alice")
		err := alice.Send(t.Context(), "alice", make([]byte, 32<<10))
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "too-large" {
			t.Errorf("a large body: %v", err)
		}
		send(t, alice, "alice", "and on")
		receive(t, alice, "and on")
	})
}

func TestOwnKey(t *testing.T) {
	both(t, config{}, func(t *testing.T, s *server) {
		s.open("bob", "carol")
		alice := s.client("alice", client.Config{})
		ready(t, s, alice, "alice")
		for range 3 {
			for _, to := range []string{"bob", "carol"} {
				if err := alice.SendDraft(t.Context(), to, inbox.Draft{Key: "k1", Body: []byte("once")}); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.wantInside("bob", "once")
		s.wantInside("carol", "once")
	})
}

// Sends to the same recipient wait for each other. Sends to other recipients do not.
func TestOrder(t *testing.T) {
	release := make(chan struct{})
	c := config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("to") == "slow" {
				<-release
			}
			next.ServeHTTP(w, r)
		})
	}}
	synctest.Test(t, func(t *testing.T) {
		release = make(chan struct{})
		s := start(t, c)
		s.open("slow", "fast")
		alice := s.client("alice", client.Config{})
		var want []string
		var sends sync.WaitGroup
		for i := range 20 {
			want = append(want, fmt.Sprint(i))
			sends.Go(func() { send(t, alice, "slow", fmt.Sprint(i)) })
			synctest.Wait() // it has entered the lane
		}
		ctx, cancel := context.WithCancel(t.Context())
		sends.Go(func() { wantErr(t, alice.Send(ctx, "slow", nil), context.Canceled) })
		synctest.Wait()
		cancel() // a waiting send leaves the lane
		send(t, alice, "fast", "does not wait")
		s.wantInside("slow")
		close(release)
		sends.Wait()
		s.wantInside("slow", want...)
	})
}

// Following a redirect that turns a POST into a GET would take a message.
func TestRedirectIsNotFollowed(t *testing.T) {
	c := config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				http.Redirect(w, r, "/inbox?to=secret", http.StatusFound)
				return
			}
			next.ServeHTTP(w, r)
		})
	}}
	inBubble(t, c, func(s *server) {
		s.open("alice")
		s.put("alice", "alice", "kept")
		err := s.client("alice", client.Config{}).Send(s.Context(), "bob", nil)
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != http.StatusFound || strings.Contains(err.Error(), "secret") {
			s.Error(err)
		}
		s.wantInside("alice", "kept")
	})
}

// The login page of a captive portal does not count as success.
func TestLoginPage(t *testing.T) {
	c := config{wrap: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("<html>Welcome! Your room number?"))
		})
	}}
	inBubble(t, c, func(s *server) {
		alice := s.client("alice", client.Config{})
		if err := alice.Send(s.Context(), "bob", nil); err == nil {
			s.Error("sent into a login page")
		}
		if _, err := alice.Receive(s.Context()); err == nil {
			s.Error("received from a login page")
		}
	})
}
