package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/client"
	"inbox/inboxhttp"
)

func invite(s *server, c *client.Client, room string) client.Code {
	s.Helper()
	code, err := c.Invite(s.Context(), room)
	if err != nil {
		s.Fatal(err)
	}
	if text, ok := inbox.ParseCode(code.Text); !ok || text != code.Text || code.TTL != inbox.CodeTTL {
		s.Fatalf("got the code %+v", code)
	}
	return code
}

func TestCodes(t *testing.T) {
	both(t, config{}, func(t *testing.T, s *server) {
		alice, bob := s.client("alice ü", client.Config{}), s.client("bob", client.Config{})
		name := client.RoomName("secret", "standup")
		for room, want := range map[string]inbox.Invitation{"": {Peer: "alice ü"}, name: {Peer: "alice ü", Room: name}, "a&b c": {Peer: "alice ü", Room: "a&b c"}} {
			code := invite(s, alice, room)
			if got, err := bob.Redeem(t.Context(), " "+strings.ToLower(code.String())+"-"); err != nil || got != want {
				t.Errorf("%q: got %+v, %v, want %+v", code, got, err, want)
			}
			if _, err := bob.Redeem(t.Context(), code.Text); !errors.Is(err, inbox.ErrNoCode) {
				t.Errorf("a code that was used: %v", err)
			}
		}
		// Creating a code has opened the inbox.
		if err := bob.Send(t.Context(), "alice ü", []byte("hello")); err != nil {
			t.Error(err)
		}
	})
}

func TestCodeErrors(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		alice := s.client("alice", client.Config{})
		invite(s, alice, "")
		for _, typed := range []string{"", "ABCDE", "ABCDEFG", "ABCDEI", "ABC\nEF", strings.Repeat("A", 1<<20)} {
			if _, err := alice.Redeem(s.Context(), typed); !errors.Is(err, inbox.ErrNoCode) {
				s.Errorf("%.10q: %v", typed, err)
			}
		}
		for range 3 {
			if _, err := alice.Redeem(s.Context(), "AAAAAA"); !errors.Is(err, inbox.ErrNoCode) {
				s.Errorf("a wrong code: %v", err)
			}
		}
		_, err := alice.Redeem(s.Context(), "AAAAAA")
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || !errors.Is(err, inbox.ErrRateLimited) || refused.RetryAfter <= 0 || refused.RetryAfter > 20*time.Second {
			s.Fatalf("the fourth wrong code: %v", err)
		}
		code := invite(s, alice, "")
		time.Sleep(refused.RetryAfter)
		if _, err := alice.Redeem(s.Context(), code.Text); err != nil {
			s.Error(err)
		}

		if _, err := alice.Invite(s.Context(), "a:b"); err == nil {
			s.Error("an invalid room has a code")
		}
		if _, err := s.client("alice", client.Config{Password: "wrong"}).Invite(s.Context(), ""); !errors.Is(err, inbox.ErrUnauthorized) {
			s.Errorf("a wrong password: %v", err)
		}

		// Too many codes: the client waits and retries, or says how long to wait.
		quick := s.client("alice", client.Config{RetryFor: time.Second})
		var limited error
		for range 100 {
			if _, limited = quick.Invite(s.Context(), ""); limited != nil {
				break
			}
		}
		last, ok := errors.AsType[*client.Error](limited)
		if !ok || !errors.Is(limited, inbox.ErrRateLimited) || last.RetryAfter <= 0 {
			s.Fatalf("too many codes: %v", limited)
		}
		invite(s, alice, "")

		if err := alice.Close(s.Context()); err != nil {
			s.Fatal(err)
		}
		if _, err := alice.Invite(s.Context(), ""); !errors.Is(err, inbox.ErrClosed) {
			s.Errorf("a code after Close: %v", err)
		}
		if _, err := alice.Redeem(s.Context(), "AAAAAA"); !errors.Is(err, inbox.ErrClosed) {
			s.Errorf("redeeming after Close: %v", err)
		}
	})
}

// A server that is away: creating a code is retried, and redeeming one is not.
func TestCodesWhileTheServerIsAway(t *testing.T) {
	failures := 0
	c := config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if failures > 0 && r.Method == http.MethodPost {
				failures--
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	}}
	inBubble(t, c, func(s *server) {
		alice := s.client("alice", client.Config{})
		failures = 3
		code := invite(s, alice, "")
		failures = 1
		if _, err := alice.Redeem(s.Context(), code.Text); err == nil || errors.Is(err, inbox.ErrNoCode) {
			s.Errorf("redeeming without a response: %v", err)
		}
		if _, err := alice.Redeem(s.Context(), code.Text); err != nil {
			s.Error(err)
		}
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		failures = 1 << 20
		if _, err := alice.Invite(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("a code until the context ends: %v", err)
		}
		failures = 0
	})
}

// Something other than an inbox server answers.
func TestCodesOfAnotherServer(t *testing.T) {
	var body string
	c := config{Config: inboxhttp.Config{}, wrap: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			_, _ = w.Write([]byte(body))
		})
	}}
	inBubble(t, c, func(s *server) {
		alice := s.client("alice", client.Config{})
		for _, body = range []string{"", "<p>Log in", "{}", "null", `{"code":"x","seconds":600}`, `{"id":""}`, `{"id":7}`} {
			_, err := alice.Invite(s.Context(), "")
			if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "not-inbox" {
				s.Errorf("%q as a code: %v", body, err)
			}
			_, err = alice.Redeem(s.Context(), "AAAAAA")
			if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "not-inbox" {
				s.Errorf("%q as an invitation: %v", body, err)
			}
		}
	})
}
