package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/client"
)

// transports runs a test in a bubble, once with each transport.
func transports(t *testing.T, c config, f func(s *server, config client.Config)) {
	t.Helper()
	for _, poll := range []bool{false, true} {
		t.Run(map[bool]string{false: "socket", true: "long poll"}[poll], func(t *testing.T) {
			inBubble(t, c, func(s *server) { f(s, client.Config{PollOnly: poll}) })
		})
	}
}

func TestReceiveAcknowledges(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1", "2", "3")
		bob := s.client("bob", config)
		receive(s, bob, "1")
		s.wantInside("bob", "1", "2", "3")
		receive(s, bob, "2", "3")
		if m, err := bob.Receive(withTimeout(s, time.Minute)); !errors.Is(err, context.DeadlineExceeded) {
			s.Fatalf("received %q, error %v", m.Body, err)
		}
		s.wantInside("bob") // the last call acknowledged, although it timed out
		if got, want := bob.Transport() == "socket", !config.PollOnly; got != want {
			s.Errorf("received by %q", bob.Transport())
		}
	})
}

func TestAllAcknowledges(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1", "2", "3", "4")
		bob := s.client("bob", config)
		loop := func(want ...string) {
			s.Helper()
			for m, err := range bob.All(s.Context()) {
				if err != nil || string(m.Body) != want[0] || m.From != "alice" {
					s.Fatalf("received %q from %q, error %v", m.Body, m.From, err)
				}
				if want = want[1:]; len(want) == 0 {
					return
				}
			}
		}
		loop("1", "2")
		s.wantInside("bob", "2", "3", "4") // the break acknowledged nothing
		if got := bob.Transport(); got != "" {
			s.Errorf("still receives by %s", got)
		}
		loop("3") // 2 was already returned
		if err := bob.Acknowledge(s.Context()); err != nil {
			s.Fatal(err)
		}
		s.wantInside("bob", "4")

		// Another client gets the message that was not acknowledged.
		receive(s, s.client("bob", config), "4")
	})
}

func TestAllEnds(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		s.open("bob")
		s.put("alice", "bob", "1")
		var got []string
		for m, err := range s.client("bob", config).All(ctx) {
			got = append(got, fmt.Sprintf("%s %v", m.Body, err))
			cancel()
		}
		if strings.Join(got, ",") != "1 <nil>, context canceled" {
			s.Errorf("%q", got)
		}
		s.wantInside("bob")
	})
}

// When a loop ends by break or panic, the client disconnects, and the current message stays
// in the inbox.
func TestAllInterrupted(t *testing.T) {
	for way, leave := range map[string]func(){"break": func() {}, "panic": func() { panic("in the loop") }} {
		transports(t, config{}, func(s *server, config client.Config) {
			s.open("bob")
			s.put("alice", "bob", "1", "2", "3")
			bob := s.client("bob", config)
			func() {
				defer func() { recover() }()
				for m := range bob.All(s.Context()) {
					if string(m.Body) == "2" {
						leave()
						break
					}
				}
			}()
			s.wantInside("bob", "2", "3")
			if transport := bob.Transport(); transport != "" {
				s.Errorf("%s: there is still a %s", way, transport)
			}
			receive(s, bob, "3") // this Client returns nothing twice
		})
	}
}

// More messages than a socket's window, and more bytes than one response, arrive
// complete.
func TestMany(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint(i, strings.Repeat(".", 9<<10)))
		}
		s.put("alice", "bob", want...)
		bob := s.client("bob", config)
		receive(s, bob, want...)
		if err := bob.Acknowledge(s.Context()); err != nil {
			s.Fatal(err)
		}
		s.wantInside("bob")
	})
}

func TestConcurrentReceives(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
		}
		s.put("alice", "bob", want...)
		bob := s.client("bob", config)
		var mu sync.Mutex
		got := make(map[string]int)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				for range 10 {
					m, err := bob.Receive(s.Context())
					if err != nil {
						s.Error(err)
					}
					mu.Lock()
					got[string(m.Body)]++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		for _, body := range want {
			if got[body] != 1 {
				s.Errorf("received %s %d times", body, got[body])
			}
		}
	})
}

// The inbox does not expire while a message is processed for a long time.
func TestLongProcessing(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1", "2")
		bob, n := s.client("bob", config), 0
		for m, err := range bob.All(s.Context()) {
			if err != nil {
				s.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			s.put("alice", "bob", "later than "+string(m.Body))
			if n++; n == 2 {
				break
			}
		}
	})
}

// The connection outlives a Receive by linger. Then the inbox may expire.
func TestLinger(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1")
		bob := s.client("bob", config)
		receive(s, bob, "1")
		time.Sleep(50 * time.Second)
		if bob.Transport() == "" {
			s.Error("the connection was closed too early")
		}
		time.Sleep(15 * time.Second)
		if got := bob.Transport(); got != "" {
			s.Errorf("still receives by %s", got)
		}
		s.put("alice", "bob", "2") // the inbox still exists
		receive(s, bob, "2")
		bob.Leave()
		time.Sleep(61 * time.Second)
		_, err := s.store.Send(s.Context(), s.peer("alice"), "bob", inbox.Draft{})
		wantErr(s, err, inbox.ErrNoInbox)
	})
}

// Leave ends all goroutines, but not while a call receives.
func TestLeaveWhileReceiving(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		bob := s.client("bob", config)
		received := make(chan error)
		go func() {
			_, err := bob.Receive(s.Context())
			received <- err
		}()
		synctest.Wait()
		bob.Leave() // does nothing: a call is receiving
		s.put("alice", "bob", "hello")
		if err := <-received; err != nil {
			s.Fatal(err)
		}
		bob.Leave()
		if got := bob.Transport(); got != "" {
			s.Errorf("still receives by %s", got)
		}
	})
}

func TestAfter(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1", "2", "3")
		config.After = receive(s, s.client("bob", config), "1", "2").Cursor
		bob := s.client("bob", config)
		receive(s, bob, "3")
		s.wantInside("bob", "3")
	})
}

// A cursor that the server never issued is treated like one of an earlier life.
func TestBadCursor(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1")
		b, err := s.store.Look(s.Context(), s.peer("bob"), inbox.Cursor{}, 1, nil)
		if err != nil {
			s.Fatal(err)
		}
		config.After = b.Cursor
		config.After.Seq += 100
		bob := s.client("bob", config)
		_, err = bob.Receive(s.Context())
		wantErr(s, err, client.ErrReset)
		receive(s, bob, "1")
	})
}

func TestNew(t *testing.T) {
	good := client.Config{URL: "https://example.com/inbox", ID: "alice", Password: "secret"}
	good.HTTP = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("New makes a request")
		return nil, errors.ErrUnsupported
	})}
	if _, err := client.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*client.Config){
		"no URL":      func(c *client.Config) { c.URL = "" },
		"scheme":      func(c *client.Config) { c.URL = "ftp://example.com/inbox" },
		"no host":     func(c *client.Config) { c.URL = "http:///inbox" },
		"unreadable":  func(c *client.Config) { c.URL = "http://%zz/inbox" },
		"credentials": func(c *client.Config) { c.URL = "https://alice:secret@example.com/inbox" },
		"query":       func(c *client.Config) { c.URL += "?to=bob" },
		"no id":       func(c *client.Config) { c.ID = "" },
		"colon":       func(c *client.Config) { c.ID = "a:b" },
		"no password": func(c *client.Config) { c.Password = "" },
	} {
		config := good
		change(&config)
		if c, err := client.New(config); err == nil || c != nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error contains the password: %v", name, err)
		}
	}
	c, err := client.New(good)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("", "config", good, "client", c)
	if s := logged.String(); strings.Contains(s, "secret") || strings.Contains(s, "alice") {
		t.Errorf("logged: %s", s)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{good, &good, c} {
			if s := fmt.Sprintf(format, v); strings.Contains(s, "secret") || strings.Contains(s, "YWxpY2U6c2VjcmV0") {
				t.Errorf("%s prints the password: %s", format, s)
			}
		}
	}
}

// The Timeout of an http.Client does not apply to requests that wait.
func TestHTTPTimeout(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		for _, config := range []client.Config{{}, {PollOnly: true}} {
			config.HTTP = &http.Client{Transport: s.transport(), Timeout: time.Second}
			bob := s.client("bob", config)
			time.AfterFunc(10*time.Minute, func() { s.put("alice", "bob", "hello") })
			receive(s, bob, "hello")
			bob.Leave()
		}
	})
}
