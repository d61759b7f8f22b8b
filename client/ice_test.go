package client_test

import (
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"inbox"
	"inbox/client"
	"inbox/inboxhttp"
	"inbox/internal/outcome"
)

func TestICE(t *testing.T) {
	c := config{Config: inboxhttp.Config{ICEServers: func(r *http.Request, id string) []inboxhttp.ICEServer {
		return []inboxhttp.ICEServer{{URLs: []string{"stun:" + r.Host}}, {URLs: []string{"turn:a", "turns:a"}, Username: "u", Credential: "of " + id}}
	}}}
	both(t, c, func(t *testing.T, s *server) {
		alice := s.client("alice", client.Config{})
		got, err := alice.ICE(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Servers) != 2 || got.TTL != 12*time.Hour || !reflect.DeepEqual(got.Servers[1], client.ICEServer{URLs: []string{"turn:a", "turns:a"}, Username: "u", Credential: "of alice"}) {
			t.Errorf("got %+v", got)
		}
		// It has not opened an inbox, so another password can still claim the id.
		if err := s.client("alice", client.Config{Password: "another"}).Send(t.Context(), "alice", []byte("x")); err != nil && !errors.Is(err, inbox.ErrNoInbox) {
			t.Error(err)
		}
		if _, err := alice.ICE(t.Context()); !errors.Is(err, inbox.ErrUnauthorized) {
			t.Errorf("with a wrong password: %v", err)
		}
	})
}

func TestICEWithoutServers(t *testing.T) {
	both(t, config{}, func(t *testing.T, s *server) {
		alice := s.client("alice", client.Config{})
		if got, err := alice.ICE(t.Context()); err != nil || len(got.Servers) != 0 {
			t.Errorf("got %+v, %v", got, err)
		}
		alice.Close(t.Context())
		if _, err := alice.ICE(t.Context()); !errors.Is(err, inbox.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestReport(t *testing.T) {
	counts := new(outcome.Counts)
	inBubble(t, config{Config: inboxhttp.Config{Outcomes: counts}}, func(s *server) {
		alice := s.client("alice", client.Config{})
		if err := alice.Report(s.Context(), client.Outcome{Result: "connected", Path: "relay", Transport: "tls", Family: "ipv6", Time: 700 * time.Millisecond}); err != nil {
			s.Fatal(err)
		}
		err := alice.Report(s.Context(), client.Outcome{Result: "failed", Cause: "dns"})
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "rate-limited" || e.RetryAfter != time.Minute {
			s.Errorf("a second report: %v", err)
		}
		alice.Close(s.Context())
		time.Sleep(time.Minute)
		if err := alice.Report(s.Context(), client.Outcome{Result: "failed", Cause: "dns"}); err != nil {
			s.Errorf("after Close: %v", err)
		}
		if line, calls := (&outcome.Summary{Counts: counts}).Next(); line != "50 % relay, 50 % failed: dns" || calls != 2 {
			s.Errorf("counted %q of %d calls", line, calls)
		}
		if _, sum := counts.Times(); sum != 700*time.Millisecond {
			s.Errorf("a time of %v", sum)
		}
	})
}
