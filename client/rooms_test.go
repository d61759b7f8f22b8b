package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/client"
)

func join(s *server, c *client.Client, name string) *client.Room {
	s.Helper()
	r, err := c.Join(s.Context(), name)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// watch returns a function that checks the next changes of a room. The iterator stops at the
// end of the test.
func watch(s *server, r *client.Room) (want func(changes ...string)) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	next, stop := iter.Pull2(r.Changes(ctx))
	s.Cleanup(func() { cancel(); stop() })
	return func(changes ...string) {
		s.Helper()
		for _, want := range changes {
			change, err, ok := next()
			got := fmt.Sprint("-", change.Peer)
			if change.Joined {
				got = fmt.Sprint("+", change.Peer)
			}
			if err != nil {
				got = err.Error()
			}
			if !ok || got != want {
				s.Fatalf("got the change %q (%v), want %q", got, ok, want)
			}
		}
	}
}

func TestRoomChanges(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		alice, bob, carol := s.client("alice", config), s.client("bob", config), s.client("carol", config)
		first := join(s, alice, "standup")
		if got := first.Members(); !slices.Equal(got, []string{"alice"}) {
			s.Fatalf("the members are %q", got)
		}
		change := watch(s, first)
		second := join(s, bob, "standup")
		change("+bob")
		join(s, carol, "standup")
		change("+carol")
		if got, want := first.Members(), []string{"alice", "bob", "carol"}; !slices.Equal(got, want) {
			s.Errorf("the members are %q, want %q", got, want)
		}
		if err := second.Leave(s.Context()); err != nil {
			s.Fatal(err)
		}
		change("-bob")
		if err := carol.Close(s.Context()); err != nil {
			s.Fatal(err)
		}
		change("-carol")
		join(s, bob, "standup")
		change("+bob")
		watch(s, join(s, bob, "standup"))("+alice")
	})
}

// Events are acknowledged, and never returned as messages.
func TestRoomEventsBetweenMessages(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		alice := s.client("alice", config)
		change := watch(s, join(s, alice, "standup"))
		bob := join(s, s.client("bob", config), "standup")
		change("+bob")
		s.put("dave", "alice", "1")
		join(s, s.client("carol", config), "standup")
		s.put("dave", "alice", "2")
		if err := bob.Leave(s.Context()); err != nil {
			s.Fatal(err)
		}
		receive(s, alice, "1", "2")
		if err := alice.Acknowledge(s.Context()); err != nil {
			s.Fatal(err)
		}
		time.Sleep(time.Second) // for the last event and its acknowledgement
		change("-bob", "+carol")
		s.wantInside("alice")
	})
}

// A peer whose inbox has ended joins again by itself.
func TestRoomAfterAReset(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		config.RetryFor = time.Hour
		alice, bob := s.client("alice", config), s.client("bob", config)
		change := watch(s, join(s, alice, "standup"))
		join(s, bob, "standup")
		change("+bob")

		s.stop()
		s.resume(s.newStore()) // which has lost all inboxes
		change("-bob")
		carol := join(s, s.client("carol", config), "standup")
		if got, want := carol.Members(), []string{"alice", "carol"}; !slices.Equal(got, want) {
			s.Errorf("the members are %q, want %q", got, want)
		}
		change("+carol")
	})
}

func TestRoomEnds(t *testing.T) {
	transports(t, config{limits: inbox.Limits{RoomMembers: 2}}, func(s *server, config client.Config) {
		alice, bob, carol := s.client("alice", config), s.client("bob", config), s.client("carol", config)
		room := join(s, alice, "standup")
		join(s, bob, "standup")
		_, err := carol.Join(s.Context(), "standup")
		wantErr(s, err, inbox.ErrRoomFull)
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "room-full" {
			s.Errorf("got the error %v", err)
		}
		if _, err := carol.Join(s.Context(), "a:b"); err == nil {
			s.Error("joined a room with a colon in its name")
		}

		change := watch(s, room)
		change("+bob")
		if err := room.Leave(s.Context()); err != nil {
			s.Fatal(err)
		}
		change(client.ErrLeft.Error())

		change = watch(s, join(s, alice, "standup"))
		change("+bob")
		if err := alice.Close(s.Context()); err != nil {
			s.Fatal(err)
		}
		change(inbox.ErrClosed.Error())
		_, err = alice.Join(s.Context(), "standup")
		wantErr(s, err, inbox.ErrClosed)

		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		for _, err := range join(s, bob, "lunch").Changes(ctx) {
			wantErr(s, err, context.Canceled)
		}
	})
}

// Another Room for the same membership continues when one of them leaves.
func TestTwoRoomsOfOneName(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		alice := s.client("alice", client.Config{})
		one, two := join(s, alice, "standup"), join(s, alice, "standup")
		if err := one.Leave(s.Context()); err != nil {
			s.Fatal(err)
		}
		change := watch(s, two)
		join(s, s.client("bob", client.Config{}), "standup")
		change("+bob")
	})
}

// A room that is left while the client joins it again after a reset stays left.
func TestLeaveDuringAReset(t *testing.T) {
	for _, order := range []string{"before the request to join is answered", "after it"} {
		t.Run(order, func(t *testing.T) {
			var hold, held, release = false, make(chan struct{}), make(chan struct{})
			var mu sync.Mutex // guards hold
			c := config{wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					wait := hold && r.Method == http.MethodPut && strings.Contains(r.URL.RawQuery, "standup")
					hold = hold && !wait
					mu.Unlock()
					if wait {
						close(held)
						<-release
					}
					next.ServeHTTP(w, r)
				})
			}}
			inBubble(t, c, func(s *server) {
				held, release = make(chan struct{}), make(chan struct{})
				alice := s.client("alice", client.Config{RetryFor: time.Hour, PollOnly: true})
				room := join(s, alice, "standup")
				other := join(s, alice, "lunch")
				change := watch(s, other)
				join(s, s.client("bob", client.Config{}), "lunch")
				change("+bob")
				mu.Lock()
				hold = true
				mu.Unlock()
				s.stop()
				s.resume(s.newStore())
				left := make(chan error, 1)
				go func() {
					<-held
					if order == "after it" {
						close(release)
						synctest.Wait()
					}
					left <- room.Leave(s.Context())
				}()
				go func() {
					<-held
					time.Sleep(time.Second)
					if order != "after it" {
						close(release)
					}
				}()
				change("-bob")
				if err := <-left; err != nil {
					s.Fatal(err)
				}
				time.Sleep(time.Minute / 2)
				carol := s.client("carol", client.Config{})
				if got := join(s, carol, "standup").Members(); !slices.Equal(got, []string{"carol"}) {
					s.Errorf("the members are %q", got)
				}
				if got := join(s, carol, "lunch").Members(); !slices.Equal(got, []string{"alice", "carol"}) {
					s.Errorf("the members of the other room are %q", got)
				}
			})
		})
	}
}

// A peer that has missed events learns who is there now.
func TestRoomAfterLostEvents(t *testing.T) {
	transports(t, config{}, func(s *server, config client.Config) {
		alice, bob := s.client("alice", config), s.client("bob", config)
		dave := join(s, s.client("dave", config), "standup")
		room := join(s, alice, "standup")
		for range inbox.MaxEvents {
			if err := join(s, bob, "standup").Leave(s.Context()); err != nil {
				s.Fatal(err)
			}
		}
		if err := dave.Leave(s.Context()); err != nil {
			s.Fatal(err)
		}
		join(s, s.client("carol", config), "standup")
		there := map[string]bool{}
		ctx, cancel := context.WithCancel(s.Context())
		var following sync.WaitGroup
		following.Go(func() {
			for change, err := range room.Changes(ctx) {
				if err != nil {
					wantErr(s, err, context.Canceled)
					return
				}
				if there[change.Peer] == change.Joined {
					s.Errorf("the change %+v changes nothing", change)
				}
				there[change.Peer] = change.Joined
			}
		})
		time.Sleep(10 * time.Second) // until all events have arrived
		cancel()
		following.Wait()
		if there["bob"] || !there["carol"] || there["dave"] { // who came and went may be missing
			s.Errorf("the changes end with %v, want carol", there)
		}
		if got := room.Members(); !slices.Equal(got, []string{"alice", "carol"}) {
			s.Errorf("the members are %q", got)
		}
	})
}

// The SDK has a test with the same values.
func TestRoomName(t *testing.T) {
	for _, c := range []struct{ secret, name, want string }{
		{"secret", "standup", "DVdLlss6xLGEmjK70JECRV7EvfaS17L1867_kLAWt7c"},
		{"é", "1:", "B6mlLxoNIq9brLjnxYbnKEtroT8I1SBL1lWQ6T7XODk"},
		{"", "standup", "BXJodKZQMJEDHf5WbvdZ8HZpHpyUB8mvFWiGlewEIV0"},
	} {
		got := client.RoomName(c.secret, c.name)
		if inbox.CheckRoom(got) != nil || len(got) != 43 {
			t.Errorf("RoomName(%q, %q) = %q", c.secret, c.name, got)
		}
		if c.want != "" && got != c.want {
			t.Errorf("RoomName(%q, %q) = %q, want %q", c.secret, c.name, got, c.want)
		}
	}
	if client.RoomName("a", "bc") == client.RoomName("ab", "c") {
		t.Error("two secrets and names give the same room")
	}
}
