package client_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"inbox/client"
	"inbox/inboxhttp"
	"inbox/internal/limit"
	"inbox/internal/meter"
)

// A rate-limited client waits and continues. No message is lost, duplicated or reordered.
func TestLimitedByTheServer(t *testing.T) {
	for _, pollOnly := range []bool{false, true} {
		t.Run(fmt.Sprint("PollOnly=", pollOnly), func(t *testing.T) {
			t.Parallel()
			const messages = 40
			refusals := meter.NewRefusals(false)
			limits := limit.NewClients(limit.Config{Requests: limit.Rate{PerSecond: 50, Burst: 15}, Refusals: refusals})
			s := start(t, config{Config: inboxhttp.Config{Clients: limits}, sockets: true})
			bob, alice := s.client("bob", client.Config{PollOnly: pollOnly}), s.client("alice", client.Config{})
			s.open("bob")
			var want []string
			var sending sync.WaitGroup
			sending.Go(func() {
				for i := range messages {
					if err := alice.Send(s.Context(), "bob", fmt.Append(nil, i)); err != nil {
						s.Errorf("send %d: %v", i, err)
					}
				}
			})
			for i := range messages {
				want = append(want, fmt.Sprint(i))
			}
			receive(s, bob, want...)
			sending.Wait()
			if err := bob.Acknowledge(s.Context()); err != nil {
				s.Errorf("the last acknowledgement: %v", err)
			}
			s.wantInside("bob")
			if refusals.Count(meter.AddressRequests) == 0 {
				s.Error("nothing was refused")
			}
		})
	}
}

// A client that disconnects retries a rate-limited final acknowledgement, so that the
// next client does not get the same messages.
func TestLimitedAcknowledgement(t *testing.T) {
	refused := 0
	c := config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.RawQuery, "limit=0&") || strings.HasSuffix(r.URL.RawQuery, "limit=0") {
				if refused++; refused > 1 && refused < 4 {
					w.Header().Set("Retry-After", "1")
					w.Header().Set("Content-Type", "application/problem+json")
					w.WriteHeader(http.StatusTooManyRequests)
					w.Write([]byte(`{"code":"rate-limited"}`))
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}}
	inBubble(t, c, func(s *server) {
		s.open("bob")
		s.put("alice", "bob", "1", "2")
		bob := s.client("bob", client.Config{PollOnly: true})
		n := 0
		for _, err := range bob.All(s.Context()) {
			if err != nil {
				s.Fatal(err)
			}
			if n++; n == 2 {
				break
			}
		}
		s.wantInside("bob", "2") // no iteration acknowledged 2
		if refused < 3 {
			s.Errorf("%d acknowledgements, want some refused", refused)
		}
	})
}

// The client honors the wait in an error frame, and a rate-limited socket is not reopened
// immediately.
func TestLimitedSocketWaits(t *testing.T) {
	var opened []time.Time
	limits := limit.NewClients(limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 4}})
	c := config{Config: inboxhttp.Config{Clients: limits}, sockets: true, wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Upgrade") != "" {
				opened = append(opened, time.Now())
			}
			next.ServeHTTP(w, r)
		})
	}}
	s := start(t, c)
	bob := s.client("bob", client.Config{})
	s.put("bob", "bob", "first")
	receive(s, bob, "first")
	begin := time.Now()
	for i := range 6 {
		send(s, bob, "bob", fmt.Sprint(i))
	}
	if took := time.Since(begin); took < time.Second {
		s.Errorf("six messages were sent in %v at one a second", took)
	}
	receive(s, bob, "0", "1", "2", "3", "4", "5")
	if len(opened) > 2 {
		s.Errorf("%d sockets were opened: an error for a send must not end one", len(opened))
	}
	_ = bob.Acknowledge(s.Context())
}
