package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"inbox"
	"inbox/client"
)

func TestSendWaits(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		alice := s.client("alice", client.Config{Wait: 10 * time.Second})
		sent := make(chan error)
		go func() { sent <- alice.Send(s.Context(), "bob", []byte("hello")) }()
		time.Sleep(9 * time.Second) // in the bubble's time, so exactly this long
		s.open("bob")
		if err := <-sent; err != nil {
			s.Fatal(err)
		}
		s.wantInside("bob", "hello")

		begin := time.Now()
		err := alice.Send(s.Context(), "nobody", nil)
		wantErr(s, err, inbox.ErrNoInbox)
		if _, ok := errors.AsType[*client.RetryError](err); !ok || time.Since(begin) != 10*time.Second {
			s.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	var refused atomic.Int32
	var times, least []time.Time
	c := config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				next.ServeHTTP(w, r)
				return
			}
			times = append(times, time.Now())
			switch refused.Add(1) {
			case 1:
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusServiceUnavailable)
				least = append(least, time.Now().Add(7*time.Second))
			case 2:
				at := time.Now().Add(5 * time.Second).UTC().Truncate(time.Second)
				w.Header().Set("Retry-After", at.Format(http.TimeFormat))
				w.WriteHeader(http.StatusTooManyRequests)
				least = append(least, at)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}}
	inBubble(t, c, func(s *server) {
		s.open("bob")
		send(s, s.client("alice", client.Config{}), "bob", "hello")
		for i, at := range least {
			if late := times[i+1].Sub(at); late < 0 || late > 2*time.Second {
				s.Errorf("retried %v after the requested time", late)
			}
		}
		s.wantInside("bob", "hello")
	})
}

// A Retry-After date less than a second away is valid.
func TestRetryAfterAlmostOver(t *testing.T) {
	var refused atomic.Bool
	c := config{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refused.Swap(true) {
				next.ServeHTTP(w, r)
				return
			}
			at := time.Now().Truncate(time.Second).Add(time.Second)
			time.Sleep(time.Until(at) - 2) // 2 ns, in the bubble's time
			w.Header().Set("Retry-After", at.UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusServiceUnavailable)
		})
	}}
	inBubble(t, c, func(s *server) {
		s.open("bob")
		send(s, s.client("alice", client.Config{}), "bob", "hello")
		s.wantInside("bob", "hello")
	})
}

// If Retry-After exceeds the remaining time, there is no retry.
func TestRetryAfterTooLong(t *testing.T) {
	c := config{wrap: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
	}}
	inBubble(t, c, func(s *server) {
		begin := time.Now()
		err := s.client("alice", client.Config{}).Send(s.Context(), "bob", nil)
		e, ok := errors.AsType[*client.Error](err)
		if !ok || e.RetryAfter != 2*time.Minute || time.Since(begin) != 0 {
			s.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestSendGivesUp(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.stop()
		for _, retryFor := range []time.Duration{0, time.Second, time.Minute} {
			want := retryFor
			if want == 0 {
				want = 30 * time.Second
			}
			begin := time.Now()
			err := s.client("alice", client.Config{RetryFor: retryFor}).Send(s.Context(), "bob", nil)
			if e, ok := errors.AsType[*client.RetryError](err); !ok || e.Ended != nil || time.Since(begin) != want {
				s.Errorf("after %v: %v", time.Since(begin), err)
			}
		}
		begin := time.Now()
		err := s.client("alice", client.Config{RetryFor: -1}).Send(withTimeout(s, time.Hour), "bob", nil)
		wantErr(s, err, context.DeadlineExceeded)
		if _, ok := errors.AsType[*client.RetryError](err); !ok || time.Since(begin) != time.Hour {
			s.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestServerComesBack(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		store := s.newStore()
		s.stop()
		sent := make(chan error)
		alice := s.client("alice", client.Config{})
		go func() { sent <- alice.Send(s.Context(), "bob", []byte("hello")) }()
		time.Sleep(20 * time.Second)
		s.begin(store)
		s.open("bob")
		if err := <-sent; err != nil {
			s.Fatal(err)
		}
		s.wantInside("bob", "hello")
	})
}

// If the responses to the first sends are lost, each message still arrives once.
func TestLostAnswers(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.open("bob")
		lost := make(map[string]int)
		alice := s.client("alice", client.Config{HTTP: s.lossy(func(r *http.Request) bool {
			key := r.Header.Get("Idempotency-Key")
			lost[key]++
			return lost[key] <= 3
		})})
		for i := range 5 {
			send(s, alice, "bob", fmt.Sprint(i))
		}
		s.wantInside("bob", "0", "1", "2", "3", "4")
		if len(lost) != 5 {
			s.Errorf("%d keys for 5 messages", len(lost))
		}
	})
}

// If a socket breaks between a send and its confirmation, the message still arrives once.
func TestLostSocketAnswer(t *testing.T) {
	both(t, config{}, func(t *testing.T, s *server) {
		alice := s.client("alice", client.Config{})
		ready(t, s, alice, "alice")
		s.open("bob")
		var want []string
		for i := range 10 {
			body := fmt.Sprint(i)
			want = append(want, body)
			sent := make(chan error)
			go func() { sent <- alice.Send(t.Context(), "bob", []byte(body)) }()
			s.cut() // before, during or after the send
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		s.wantInside("bob", want...)
	})
}
