package memstore_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/memstore"
)

// received removes all events from an inbox and returns the last as text.
func received(t *testing.T, s *memstore.Store, id string) (last string) {
	t.Helper()
	for after := start; ; {
		b := look(t, s, id, after, 100)
		if len(b.Messages) == 0 {
			return last
		}
		for i := range b.Messages {
			e, _ := b.Messages[i].Event()
			last = fmt.Sprint(e.Kind, " ", e.Peer, e.Members)
		}
		after = b.Cursor
	}
}

func join(t testing.TB, s *memstore.Store, id, room string) {
	t.Helper()
	if _, err := s.Join(t.Context(), peer(id), room); err != nil {
		t.Fatal(err)
	}
}

// A member that has missed events gets a list of all members after a restart too.
func TestSnapshotRemembersWhoHasMissedEvents(t *testing.T) {
	s := memstore.New(inbox.Limits{})
	join(t, s, "alice", "standup")
	for range inbox.MaxEvents {
		join(t, s, "bob", "standup")
		if _, err := s.LeaveRoom(t.Context(), peer("bob"), "standup"); err != nil {
			t.Fatal(err)
		}
	}
	join(t, s, "carol", "standup")
	restored := load(t, save(t, s), inbox.Limits{})
	if last := received(t, restored, "alice"); last != "members [alice carol]" {
		t.Errorf("the last event is %q", last)
	}
}

// An expiry just before the snapshot was saved is reported to the room.
func TestSnapshotOfAnInboxThatHasJustExpired(t *testing.T) {
	for _, found := range []bool{false, true} { // whether a send has found the expired inbox
		synctest.Test(t, func(t *testing.T) {
			limits := inbox.Limits{TTL: ttl}
			s := memstore.New(limits)
			join(t, s, "bob", "standup")
			time.Sleep(ttl / 2)
			join(t, s, "alice", "standup")
			send(t, s, "alice", "bob", "k", "hello")
			time.Sleep(ttl / 2)
			if found {
				if err := trySend(t, s, "alice", "bob", "", "hello"); err != inbox.ErrNoInbox {
					t.Fatal(err)
				}
			}
			restored := load(t, save(t, s), limits)
			if last := received(t, restored, "alice"); last != "expired bob[]" {
				t.Errorf("the last event is %q", last)
			}
			if inboxes, _ := restored.Usage(); inboxes != 1 {
				t.Errorf("there are %d inboxes", inboxes)
			}
		})
	}
}

// The store keeps the name of a room, and not the URL that it was a part of.
func TestNamesDoNotKeepTheirURLs(t *testing.T) {
	s := memstore.New(inbox.Limits{})
	before := heap()
	const n, size = 2000, 16 << 10
	for i := range n {
		url := fmt.Sprint("room-", 1000+i) + strings.Repeat("x", size)
		name := url[:len("room-1000")]
		join(t, s, fmt.Sprint("peer-", i/16), name)
		if _, err := s.Invite(t.Context(), peer("alice"), name); err != nil {
			t.Fatal(err)
		}
	}
	if kept := heap() - before; kept > n*size/4 {
		t.Errorf("%d names of rooms keep %d bytes", n, kept)
	}
	runtime.KeepAlive(s)
}
