package client_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/client"
)

func TestReplaced(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		old, fresh := s.client("bob", config), s.client("bob", config)
		ended := make(chan error)
		go func() {
			for _, err := range old.All(s.Context()) {
				ended <- err
			}
			close(ended)
		}()
		synctest.Wait()
		// Neither client reconnects in that time.
		time.AfterFunc(10*time.Minute, func() { s.put("alice", "bob", "hello") })
		receive(s, fresh, "hello")
		wantErr(s, <-ended, inbox.ErrReplaced)
		if err, more := <-ended; more {
			s.Errorf("All continued with %v", err)
		}
		_, err := old.Receive(s.Context())
		wantErr(s, err, inbox.ErrReplaced)
		wantErr(s, old.Send(s.Context(), "nobody", nil), inbox.ErrNoInbox) // sending still works
		fresh.Leave()
	})
}

// Messages that were processed before a client was replaced are not delivered again.
func TestReplacedAcknowledges(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.open("bob")
		s.put("alice", "bob", "1", "2", "3")
		old, handed := s.client("bob", client.Config{}), make(chan string, 3)
		go func() {
			for m, err := range old.All(s.Context()) {
				if err != nil {
					wantErr(s, err, inbox.ErrReplaced)
					continue
				}
				handed <- string(m.Body)
				time.Sleep(time.Minute)
			}
			close(handed)
		}()
		time.Sleep(90 * time.Second) // 1 is processed, 2 is not yet
		if _, err := s.store.Look(s.Context(), s.peer("bob"), inbox.Cursor{}, 0, inbox.NewWaker(nil)); err != nil {
			s.Fatal(err)
		}
		for range handed {
		}
		s.wantInside("bob", "3") // old had received 2; 3 is for its successor
	})
}

func TestClosed(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		here, there := s.client("bob", config), s.client("bob", config)
		s.open("bob")
		var ends sync.WaitGroup
		for range 2 {
			ends.Go(func() {
				_, err := here.Receive(s.Context())
				wantErr(s, err, inbox.ErrClosed)
			})
		}
		synctest.Wait()
		if err := there.Close(s.Context()); err != nil {
			s.Fatal(err)
		}
		ends.Wait()
		_, err := s.store.Send(s.Context(), s.peer("alice"), "bob", inbox.Draft{})
		wantErr(s, err, inbox.ErrNoInbox)
		wantErr(s, there.Send(s.Context(), "alice", nil), inbox.ErrClosed)
		_, err = there.Receive(s.Context())
		wantErr(s, err, inbox.ErrClosed)
		if err := there.Close(s.Context()); err != nil {
			s.Error(err)
		}
	})
}

// Close may be called inside the loop.
func TestCloseInLoop(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1", "2")
		begin := time.Now()
		bob, got := s.client("bob", config), ""
		for m, err := range bob.All(s.Context()) {
			got += fmt.Sprintf("%s %v;", m.Body, err)
			if err := bob.Close(s.Context()); err != nil {
				s.Error(err)
			}
		}
		if want := fmt.Sprintf("1 <nil>; %v;", inbox.ErrClosed); got != want {
			s.Errorf("%q, want %q", got, want)
		}
		_, err := s.store.Send(s.Context(), s.peer("alice"), "bob", inbox.Draft{})
		wantErr(s, err, inbox.ErrNoInbox)
		if d := time.Since(begin); d > time.Second {
			s.Errorf("took %v", d)
		}
	})
}

// Close ends every waiting call, and the inbox stays closed.
func TestClose(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		config.Wait = time.Hour
		bob := s.client("bob", config)
		var ends sync.WaitGroup
		ends.Go(func() {
			_, err := bob.Receive(s.Context())
			wantErr(s, err, inbox.ErrClosed)
		})
		ends.Go(func() {
			for _, err := range bob.All(s.Context()) {
				wantErr(s, err, inbox.ErrClosed)
			}
		})
		for range 2 {
			ends.Go(func() { wantErr(s, bob.Send(s.Context(), "nobody", nil), inbox.ErrClosed) })
		}
		synctest.Wait()
		if err := bob.Close(s.Context()); err != nil {
			s.Fatal(err)
		}
		ends.Wait()
		synctest.Wait()
		_, err := s.store.Send(s.Context(), s.peer("alice"), "bob", inbox.Draft{})
		wantErr(s, err, inbox.ErrNoInbox)
	})
}

func TestUnauthorized(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		config.Password = "a guess"
		c := s.client("bob", config)
		n := 0
		for _, err := range c.All(s.Context()) {
			wantErr(s, err, inbox.ErrUnauthorized)
			n++
		}
		wantErr(s, c.Close(s.Context()), inbox.ErrUnauthorized)
		if n != 1 {
			s.Errorf("%d errors", n)
		}
	})
}

// Another peer takes the id after the inbox has expired.
func TestIDTaken(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		s.open("bob")
		s.put("alice", "bob", "1")
		bob := s.client("bob", config)
		receive(s, bob, "1")
		s.stop()
		store := s.newStore()
		s.begin(store)
		if _, err := store.Acknowledge(s.Context(), inbox.Peer{ID: "bob", Secret: inbox.Secret{1}}, inbox.Cursor{}, nil); err != nil {
			s.Fatal(err)
		}
		_, err := bob.Receive(s.Context())
		wantErr(s, err, inbox.ErrUnauthorized)
	})
}

// A DELETE names the life of the inbox only while the client is receiving. Otherwise the
// client cannot know the present life.
func TestCloseNamesLifetime(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				mu.Lock()
				asked = append(asked, r.URL.RawQuery)
				mu.Unlock()
			}
			next.ServeHTTP(w, r)
		})
	}
	transports(t, config{wrap: wrap}, func(s *server, config client.Config) {
		mu.Lock()
		asked = nil
		mu.Unlock()
		bob, carol := s.client("bob", config), s.client("carol", config)
		ended := make(chan error, 1)
		go func() {
			_, err := bob.Receive(s.Context())
			ended <- err
		}()
		synctest.Wait()
		b, err := s.store.Acknowledge(s.Context(), s.peer("bob"), inbox.Cursor{}, nil)
		if err != nil {
			s.Fatal(err)
		}
		if err := bob.Close(s.Context()); err != nil {
			s.Fatal(err)
		}
		wantErr(s, <-ended, inbox.ErrClosed)
		wantErr(s, carol.Send(s.Context(), "bob", nil), inbox.ErrNoInbox)
		if err := carol.Close(s.Context()); err != nil {
			s.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"life=" + b.Cursor.String(), ""}; !slices.Equal(asked, want) {
			s.Errorf("DELETE with %q, want %q", asked, want)
		}
	})
}
