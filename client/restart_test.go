package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"inbox/client"
)

// Receiving while the server is away says so every now and then, and goes on.
func TestReceiveWhileAway(t *testing.T) {
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
		_, err := bob.Receive(within(s, time.Second))
		wantErr(s, err, context.DeadlineExceeded)
		bob.Leave()
		s.stop()
		_, err = bob.Receive(within(s, time.Second))
		wantErr(s, err, context.DeadlineExceeded)
		if _, ok := errors.AsType[*client.RetryError](err); !ok {
			s.Errorf("the error does not tell why: %v", err)
		}
	})
}

// A server that sends everybody away, and one that takes over.
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

// Without a snapshot a restart is a reset, which is told once, and only to those
// whom it concerns.
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
		receive(s, old, "2") // it was here already
		_, err := old.Receive(s.Context())
		wantErr(s, err, client.ErrReset)
		receive(s, old, "3", "4")
		if err := old.Acknowledge(s.Context()); err != nil {
			s.Fatal(err)
		}
		s.wantInside("bob")
	})
}

// What was fetched from an earlier life is handed over, and its acknowledgement says
// nothing to the present one.
func TestResetWithMessagesInTheQueue(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1", "2", "3")
		bob := s.client("bob", config)
		receive(s, bob, "1")
		s.stop()
		s.begin(s.newStore())
		time.Sleep(30 * time.Second) // on a socket it is noticed meanwhile
		s.open("bob")
		s.put("alice", "bob", "4", "5")
		receive(s, bob, "2", "3")
		_, err := bob.Receive(s.Context())
		wantErr(s, err, client.ErrReset)
		receive(s, bob, "4")
		s.wantInside("bob", "4", "5")
		receive(s, bob, "5")
		if m, err := bob.Receive(within(s, time.Minute)); !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("received %q, error %v", m.Body, err)
		}
		s.wantInside("bob")
	})
}

// An inbox without any message can be lost too.
func TestResetOfAnEmptyInbox(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		bob := s.client("bob", config)
		_, err := bob.Receive(within(s, time.Second))
		wantErr(s, err, context.DeadlineExceeded)
		s.stop()
		s.begin(s.newStore())
		n := 0
		for m, err := range bob.All(within(s, time.Hour)) {
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
			s.Errorf("the loop came round %d times", n)
		}
	})
}

// With a snapshot nobody notices a restart.
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
		_, err := bob.Receive(within(s, time.Minute))
		wantErr(s, err, context.DeadlineExceeded)
		s.wantInside("bob")
		bob.Leave()
	})
}
