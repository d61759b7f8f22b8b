package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"inbox/client"
)

// While the server is away, receiving reports it periodically and continues.
func TestReceiveWhileUnavailable(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.stop()
		bob := s.client("bob", config)
		begin := time.Now()
		errs := 0
		for m, err := range bob.All(s.Context()) {
			if err == nil {
				if string(m.Body) != "hello" {
					s.Errorf("received %q", m.Body)
				}
				break
			}
			errs++
			if _, ok := errors.AsType[*client.RetryError](err); !ok || time.Since(begin) != time.Duration(errs)*30*time.Second {
				s.Errorf("after %v: %v", time.Since(begin), err)
			}
			if errs == 3 {
				s.begin(s.newStore())
				s.open("bob")
				s.put("alice", "bob", "hello")
			}
		}
		_, err := bob.Receive(withTimeout(s, time.Second))
		wantErr(s, err, context.DeadlineExceeded)
		bob.Leave()
		s.stop()
		_, err = bob.Receive(withTimeout(s, time.Second))
		wantErr(s, err, context.DeadlineExceeded)
		if _, ok := errors.AsType[*client.RetryError](err); !ok {
			s.Errorf("the error does not give the reason: %v", err)
		}
	})
}

// A draining server sends its clients away, and another takes over.
func TestDraining(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		bob := s.client("bob", config)
		received := make(chan error)
		go func() {
			m, err := bob.Receive(s.Context())
			if err == nil && string(m.Body) != "hello" {
				s.Errorf("received %q", m.Body)
			}
			received <- err
		}()
		synctest.Wait()
		s.put("alice", "alice")
		s.handler.Drain()
		time.Sleep(10 * time.Second)
		store := s.store
		s.stop()
		s.resume(store)
		s.put("alice", "bob", "hello")
		if err := <-received; err != nil {
			s.Error(err)
		}
	})
}

// A restart without a snapshot is reported as a reset, once, and only to clients that may
// have missed something.
func TestReset(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1", "2")
		old, fresh := s.client("bob", config), s.client("carol", config)
		receive(s, old, "1")
		s.stop()
		s.begin(s.newStore())
		s.open("bob", "carol")
		s.put("alice", "bob", "3", "4")
		s.put("alice", "carol", "1")
		receive(s, fresh, "1")
		receive(s, old, "2") // already fetched
		_, err := old.Receive(s.Context())
		wantErr(s, err, client.ErrReset)
		receive(s, old, "3", "4")
		if err := old.Acknowledge(s.Context()); err != nil {
			s.Fatal(err)
		}
		s.wantInside("bob")
	})
}

// Messages fetched from an earlier life are still returned. Acknowledging them does not
// affect the present life.
func TestResetWithMessagesInTheQueue(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1", "2", "3")
		bob := s.client("bob", config)
		receive(s, bob, "1")
		s.stop()
		s.begin(s.newStore())
		time.Sleep(30 * time.Second) // long enough for a socket to notice
		s.open("bob")
		s.put("alice", "bob", "4", "5")
		receive(s, bob, "2", "3")
		_, err := bob.Receive(s.Context())
		wantErr(s, err, client.ErrReset)
		receive(s, bob, "4")
		s.wantInside("bob", "4", "5")
		receive(s, bob, "5")
		if m, err := bob.Receive(withTimeout(s, time.Minute)); !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("received %q, error %v", m.Body, err)
		}
		s.wantInside("bob")
	})
}

// The loss of an empty inbox is reported too.
func TestResetOfAnEmptyInbox(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		bob := s.client("bob", config)
		_, err := bob.Receive(withTimeout(s, time.Second))
		wantErr(s, err, context.DeadlineExceeded)
		s.stop()
		s.begin(s.newStore())
		n := 0
		for m, err := range bob.All(withTimeout(s, time.Hour)) {
			switch n++; n {
			case 1:
				wantErr(s, err, client.ErrReset)
				s.put("alice", "bob", "1")
			case 2:
				if string(m.Body) != "1" {
					s.Errorf("received %q, error %v", m.Body, err)
				}
			case 3:
				wantErr(s, err, context.DeadlineExceeded)
			}
		}
		if n != 3 {
			s.Errorf("the loop ran %d times", n)
		}
	})
}

// A restart with a snapshot is invisible to clients.
func TestRestartWithSnapshot(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1", "2", "3")
		bob := s.client("bob", config)
		receive(s, bob, "1", "2")
		store := s.store
		s.stop()
		time.Sleep(5 * time.Second)
		s.resume(store)
		s.put("alice", "bob", "4")
		receive(s, bob, "3", "4")
		_, err := bob.Receive(withTimeout(s, time.Minute))
		wantErr(s, err, context.DeadlineExceeded)
		s.wantInside("bob")
		bob.Leave()
	})
}
