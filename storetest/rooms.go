package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"inbox"
)

// join makes a peer a member of a room and returns the members.
func (h *harness) join(id, room string) []string {
	h.Helper()
	members, err := h.store().Join(h.Context(), peer(id), room)
	if err != nil {
		h.Fatalf("%q joins %q: %v", id, room, err)
	}
	return members
}

// leaves makes a peer leave a room and returns how many members are left.
func (h *harness) leaves(id, room string) (left int) {
	h.Helper()
	left, err := h.store().LeaveRoom(h.Context(), peer(id), room)
	h.want(err, nil)
	return left
}

func (h *harness) leaveRoom(id, room string) {
	h.Helper()
	h.leaves(id, room)
}

// takeEvents removes everything from an inbox and returns its events as text, such as
// "joined bob". Other messages appear as their bodies.
func (h *harness) takeEvents(id string) (events []string) {
	h.Helper()
	for after := start; ; {
		b := h.look(id, after, all)
		if len(b.Messages) == 0 {
			return events
		}
		for i := range b.Messages {
			events = append(events, h.describe(&b.Messages[i]))
		}
		after = b.Cursor
	}
}

func (h *harness) describe(m *inbox.Message) string {
	h.Helper()
	e, ok := m.Event()
	switch {
	case !ok && m.FromServer():
		h.Fatalf("the server sent %q", m.Body)
	case !ok:
		return string(m.Body)
	case m.Time.IsZero():
		h.Errorf("the event %q has no time", m.Body)
	case e.Kind == inbox.RoomMembers:
		return "members " + strings.Join(e.Members, ",")
	}
	return string(e.Kind) + " " + e.Peer
}

func (h *harness) wantEvents(id string, want ...string) {
	h.Helper()
	if got := h.takeEvents(id); !slices.Equal(got, want) {
		h.Fatalf("%q got the events %q, want %q", id, got, want)
	}
}

func (h *harness) wantMembers(got []string, want ...string) {
	h.Helper()
	if !slices.Equal(got, want) {
		h.Fatalf("the members are %q, want %q", got, want)
	}
}

// eventually calls done until it reports true, while the given peers keep receiving.
func (h *harness) eventually(within time.Duration, receiving []string, done func() bool) {
	h.Helper()
	for began := time.Now(); !done(); {
		if time.Since(began) > within {
			h.Fatalf("nothing happened within %v", within)
		}
		time.Sleep(h.ttl / 10)
		for _, id := range receiving {
			h.look(id, start, 0)
		}
	}
}

var roomCases = []testCase{
	{name: "each join is reported to the members, in order", run: func(h *harness) {
		h.wantMembers(h.join("alice", "standup"), "alice")
		h.wantMembers(h.join("bob", "standup"), "alice", "bob")
		h.wantMembers(h.join("carol", "standup"), "alice", "bob", "carol")
		h.wantEvents("alice", "joined bob", "joined carol")
		h.wantEvents("bob", "joined carol")
		h.wantEvents("carol")
	}},

	{name: "an event names the room and comes from the server", run: func(h *harness) {
		h.join("alice", "a <room> & \"more\"")
		h.join("bob", "a <room> & \"more\"")
		m := h.look("alice", start, all).Messages[0]
		want := inbox.Event{Room: "a <room> & \"more\"", Kind: inbox.RoomJoined, Peer: "bob"}
		if e, ok := m.Event(); !ok || e.Room != want.Room || e.Kind != want.Kind || e.Peer != want.Peer || m.From != "" {
			h.Errorf("got %+v from %q, want %+v from the server", e, m.From, want)
		}
		h.send("mallory", "bob", string(m.Body))
		if m := h.look("bob", start, all).Messages[0]; m.FromServer() {
			h.Errorf("a peer has forged an event")
		}
	}},

	{name: "a second join changes nothing", run: func(h *harness) {
		h.join("alice", "standup")
		h.join("bob", "standup")
		h.wantMembers(h.join("alice", "standup"), "alice", "bob")
		h.wantMembers(h.join("bob", "standup"), "alice", "bob")
		h.wantEvents("alice", "joined bob")
		h.wantEvents("bob")
	}},

	{name: "a leave is reported to the members immediately", run: func(h *harness) {
		for _, id := range []string{"alice", "bob", "carol"} {
			h.join(id, "standup")
		}
		h.takeEvents("alice")
		h.takeEvents("bob")
		h.leaveRoom("bob", "standup")
		h.wantEvents("alice", "left bob")
		h.wantEvents("carol", "left bob")
		h.leaveRoom("bob", "standup")
		h.leaveRoom("bob", "elsewhere")
		h.leaveRoom("nobody", "standup")
		h.join("dave", "standup")
		h.wantEvents("alice", "joined dave")
		h.wantEvents("bob")
		h.wantMembers(h.join("bob", "standup"), "alice", "carol", "dave", "bob")
	}},

	{name: "a leave returns the number of remaining members", run: func(h *harness) {
		for _, id := range []string{"alice", "bob", "carol"} {
			h.join(id, "standup")
		}
		for _, want := range []int{2, 0} { // the second time, bob is not a member
			if left := h.leaves("bob", "standup"); left != want {
				h.Errorf("%d members are left, want %d", left, want)
			}
		}
		h.leaveRoom("carol", "standup")
		if left := h.leaves("alice", "standup"); left != 0 {
			h.Errorf("%d members are left in an empty room", left)
		}
	}},

	{name: "the end of a closed inbox is reported to the members immediately", run: func(h *harness) {
		h.join("alice", "standup")
		h.join("bob", "standup")
		h.join("bob", "lunch")
		h.join("alice", "lunch")
		h.takeEvents("alice")
		h.close("bob")
		events := h.takeEvents("alice")
		if !slices.Equal(events, []string{"left bob", "left bob"}) {
			h.Errorf("got the events %q", events)
		}
		h.wantMembers(h.join("carol", "standup"), "alice", "carol")
	}},

	{name: "a close returns the number of members that get an event", run: func(h *harness) {
		for _, id := range []string{"alice", "bob", "carol"} {
			h.join(id, "standup")
		}
		h.join("alice", "lunch")
		h.join("bob", "lunch")
		h.join("bob", "alone")
		for _, want := range []int{3, 0} { // the second time, bob has no inbox
			if told, err := h.store().Close(h.Context(), peer("bob"), 0); told != want || err != nil {
				h.Errorf("%d members got an event (%v), want %d", told, err, want)
			}
		}
	}},

	{name: "an expiry is reported to the members within half a TTL", timed: true, attended: true, run: func(h *harness) {
		h.join("alice", "standup")
		h.join("bob", "standup")
		h.takeEvents("alice")
		began := time.Now()
		h.look("bob", start, 0)
		var events []string
		h.eventually(h.ttl*3/2+h.slack(), []string{"alice"}, func() bool {
			events = append(events, h.takeEvents("alice")...)
			return len(events) > 0
		})
		if !slices.Equal(events, []string{"expired bob"}) {
			h.Errorf("got the events %q", events)
		}
		if d := time.Since(began); d < h.ttl {
			h.Errorf("bob was gone after %v", d)
		}
		h.wantMembers(h.join("carol", "standup"), "alice", "carol")
	}},

	{name: "a member that comes back after its expiry joins as a new member", timed: true, run: func(h *harness) {
		h.join("alice", "standup")
		h.join("bob", "standup")
		h.takeEvents("alice")
		h.look("bob", start, 0)
		opened := time.Now()
		for time.Since(opened) < h.past() {
			time.Sleep(h.ttl / 10)
			h.look("alice", start, 0)
		}
		h.wantMembers(h.join("bob", "standup"), "alice", "bob")
		h.wantEvents("alice", "expired bob", "joined bob")
	}},

	{name: "a member stays in by receiving, not by joining", timed: true, run: func(h *harness) {
		h.join("alice", "standup")
		opened := time.Now()
		h.until(opened, h.ttl/2)
		h.join("alice", "standup")
		h.until(opened, h.past())
		h.wantMembers(h.join("bob", "standup"), "bob")
	}},

	{name: "a room is bounded", limits: inbox.Limits{RoomMembers: 2}, run: func(h *harness) {
		h.join("alice", "standup")
		h.join("bob", "standup")
		_, err := h.store().Join(h.Context(), peer("carol"), "standup")
		h.want(err, inbox.ErrRoomFull)
		h.wantMembers(h.join("bob", "standup"), "alice", "bob")
		h.leaveRoom("alice", "standup")
		h.wantMembers(h.join("carol", "standup"), "bob", "carol")
		h.wantEvents("carol")
	}},

	{name: "the rooms of a peer are bounded", limits: inbox.Limits{Rooms: 2}, run: func(h *harness) {
		h.join("alice", "1")
		h.join("alice", "2")
		_, err := h.store().Join(h.Context(), peer("alice"), "3")
		h.want(err, inbox.ErrTooManyRooms)
		h.join("alice", "2")
		h.leaveRoom("alice", "1")
		h.join("alice", "3")
	}},

	{name: "another password is ErrUnauthorized", run: func(h *harness) {
		h.join("alice", "standup")
		h.join("bob", "standup")
		_, err := h.store().Join(h.Context(), stranger("alice"), "standup")
		h.want(err, inbox.ErrUnauthorized)
		_, err = h.store().Join(h.Context(), stranger("alice"), "lunch")
		h.want(err, inbox.ErrUnauthorized)
		_, err = h.store().LeaveRoom(h.Context(), stranger("alice"), "standup")
		h.want(err, inbox.ErrUnauthorized)
		h.wantEvents("bob")
		h.wantMembers(h.join("bob", "lunch"), "bob")
	}},

	{name: "a full inbox still gets events, and events leave room for messages", limits: inbox.Limits{Messages: 2}, run: func(h *harness) {
		h.join("alice", "standup")
		h.send("bob", "alice", "1", "2")
		h.join("bob", "standup")
		_, err := h.trySend(peer("bob"), "alice", "", "3")
		h.want(err, inbox.ErrFull)
		h.wantEvents("alice", "1", "2", "joined bob")

		h.join("carol", "standup")
		h.join("dave", "standup")
		h.send("bob", "alice", "1", "2")
		h.wantEvents("alice", "joined carol", "joined dave", "1", "2")
	}},

	{name: "one sender still has only its share of a member's inbox", limits: inbox.Limits{Messages: 4, Share: 50}, run: func(h *harness) {
		h.join("alice", "standup")
		h.send("bob", "alice", "1")
		h.join("carol", "standup")
		h.send("bob", "alice", "2")
		_, err := h.trySend(peer("bob"), "alice", "", "3")
		h.want(err, inbox.ErrShare)
		h.send("carol", "alice", "4")
	}},

	{name: "a member that fell too far behind gets a list of all members", run: func(h *harness) {
		h.join("alice", "standup")
		for range inbox.MaxEvents {
			h.join("bob", "standup")
			h.leaveRoom("bob", "standup")
		}
		h.join("carol", "standup") // alice has no room for this
		events := h.takeEvents("alice")
		for i, e := range events[:inbox.MaxEvents] {
			if want := []string{"joined bob", "left bob"}[i%2]; e != want {
				h.Fatalf("event %d is %q, want %q", i, e, want)
			}
		}
		h.join("dave", "standup")
		events = append(events, h.takeEvents("alice")...)
		if len(events) > inbox.MaxEvents+3 {
			h.Errorf("got %d events", len(events))
		}
		var members []string
		for _, e := range events[inbox.MaxEvents:] {
			kind, who, _ := strings.Cut(e, " ")
			switch inbox.EventKind(kind) {
			case inbox.RoomMembers:
				members = strings.Split(who, ",")
			case inbox.RoomJoined:
				members = append(members, who)
			default:
				h.Errorf("got the event %q", e)
			}
		}
		h.wantMembers(members, "alice", "carol", "dave")
	}},

	{name: "an event wakes a receiver", run: func(h *harness) {
		h.join("alice", "standup")
		w := h.receiver("alice").wait(start, all, h.ttl)
		h.join("bob", "standup")
		if got := h.describe(&w.batch().Messages[0]); got != "joined bob" {
			h.Errorf("got %q", got)
		}
	}},

	{name: "an event is received again until it is acknowledged", run: func(h *harness) {
		h.join("alice", "standup")
		h.join("bob", "standup")
		h.send("bob", "alice", "hello")
		first, again := h.look("alice", start, all), h.look("alice", start, all)
		if len(first.Messages) != 2 || len(again.Messages) != 2 || first.Messages[0].Cursor != again.Messages[0].Cursor {
			h.Fatalf("got %d messages, and then %d", len(first.Messages), len(again.Messages))
		}
		h.wantBodies(h.look("alice", first.Messages[0].Cursor, all), "hello")
	}},

	{name: "rooms do not disturb each other", run: func(h *harness) {
		h.join("alice", "1")
		h.join("alice", "2")
		h.wantMembers(h.join("bob", "1"), "alice", "bob")
		h.wantMembers(h.join("carol", "2"), "alice", "carol")
		h.wantEvents("alice", "joined bob", "joined carol")
		h.leaveRoom("alice", "1")
		h.wantEvents("bob", "left alice")
		h.wantEvents("carol")
	}},

	{name: "in a crowd, every member is reported to every other", run: func(h *harness) {
		const n = 20
		var mu sync.Mutex
		known := make(map[string]map[string]bool)
		h.crowd(n, func(i int) {
			id := fmt.Sprint("peer-", i)
			members := h.join(id, "standup")
			mu.Lock()
			defer mu.Unlock()
			known[id] = make(map[string]bool)
			for _, member := range members {
				known[id][member] = true
			}
		})
		for id := range known {
			for _, e := range h.takeEvents(id) {
				joined := strings.TrimPrefix(e, "joined ")
				if known[id][joined] {
					h.Errorf("%q was told twice that %q is a member", id, joined)
				}
				known[id][joined] = true
			}
			if len(known[id]) != n {
				h.Errorf("%q knows %d members, want %d", id, len(known[id]), n)
			}
		}
	}},
}
