package inboxhttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"inbox"
	"inbox/internal/limit"
)

// Section 14: rooms.

// join sends PUT ?room= and returns the members in the answer.
func (s *server) join(id, room string) []string {
	s.Helper()
	a := s.do(request{method: http.MethodPut, id: id, query: "?room=" + url.QueryEscape(room)})
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" {
		s.Fatalf("%s joins %s: got %d %s", id, room, a.status, a.body)
	}
	var got struct{ Members []string }
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		s.Fatalf("%s: %v", a.body, err)
	}
	return got.Members
}

func (s *server) leaveRoom(id, room string) {
	s.Helper()
	a := s.do(request{method: http.MethodDelete, id: id, query: "?room=" + url.QueryEscape(room)})
	if a.status != http.StatusNoContent {
		s.Fatalf("%s leaves %s: got %d %s", id, room, a.status, a.body)
	}
}

// roomMessage is an event as it appears in JSON. A message from a peer has no room.
type roomMessage struct {
	Type   string
	Cursor string
	From   *string
	Time   string
	Body   *string
	Room   *inbox.Event
}

func (s *server) parseEvent(text string) roomMessage {
	s.Helper()
	var m roomMessage
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		s.Fatalf("%s: %v", text, err)
	}
	return m
}

func (s *server) wantEvent(m roomMessage, room string, kind inbox.EventKind, peer string) {
	s.Helper()
	if m.Room == nil || m.From != nil || m.Body != nil || m.Cursor == "" || m.Time == "" {
		s.Fatalf("got %+v, want an event with a cursor and a time only", m)
	}
	if m.Room.Room != room || m.Room.Kind != kind || m.Room.Peer != peer {
		s.Fatalf("got the event %+v, want %s %s in %s", *m.Room, kind, peer, room)
	}
}

// raw returns the next message from the server as it was sent.
func (w *webSocket) raw() string {
	w.Helper()
	for {
		switch f, ok := w.next(); {
		case !ok || f.op == opClose:
			w.Fatalf("the socket ended: %q", f.payload)
		case f.op == opText:
			return string(f.payload)
		}
	}
}

func wantMembers(s *server, got []string, want ...string) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Fatalf("the members are %q, want %q", got, want)
	}
}

func TestRoomOverPolls(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		const room = `Grüße, "team" & <all>`
		wantMembers(s, s.join("alice", room), "alice")
		wantMembers(s, s.join("bob", room), "alice", "bob")
		s.send("bob", "alice", "hello")
		s.leaveRoom("bob", room)

		a := s.getJSON("alice", "?wait=0&after=0")
		var batch struct{ Messages []json.RawMessage }
		if err := json.Unmarshal([]byte(a.body), &batch); err != nil || len(batch.Messages) != 3 {
			s.Fatalf("got %s, want three messages", a.body)
		}
		s.wantEvent(s.parseEvent(string(batch.Messages[0])), room, inbox.RoomJoined, "bob")
		if m := s.parseEvent(string(batch.Messages[1])); m.Room != nil || *m.From != "bob" || *m.Body != "hello" {
			s.Errorf("got %s, want the message of bob", batch.Messages[1])
		}
		s.wantEvent(s.parseEvent(string(batch.Messages[2])), room, inbox.RoomLeft, "bob")
	})
}

// A raw poll returns events only if it asks for them. Otherwise it skips them, and what it
// acknowledges or pops includes them.
func TestRawPollSkipsEvents(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.join("alice", "standup")
		s.join("bob", "standup")
		s.send("bob", "alice", "one")
		s.join("carol", "standup")
		s.send("bob", "alice", "two")

		a := s.get("alice", "?wait=0&after=0&events=1")
		var e inbox.Event
		err := json.Unmarshal([]byte(a.body), &e)
		if err != nil || e.Peer != "bob" || a.header.Get("Inbox-Event") != "joined" || a.header.Get("Content-Type") != "application/json" || a.header.Get("X-From") != "" {
			s.Errorf("got %s %q, want an event", a.body, a.header)
		}
		a = s.get("alice", "?wait=0&after=0")
		if a.body != "one" || a.header.Get("X-From") != "bob" || a.header.Get("Inbox-Event") != "" {
			s.Errorf("got %s %q, want the first message of bob", a.body, a.header)
		}
		a = s.get("alice", "?wait=0&after="+a.header.Get("Inbox-Cursor"))
		if a.body != "two" {
			s.Errorf("got %q, want the second message", a.body)
		}
		if a := s.get("alice", "?wait=0&events=0"); a.body != "two" {
			s.Errorf("a pop got %q, want the second message", a.body)
		}
		s.join("dave", "standup")
		if a := s.get("alice", "?wait=0"); a.status != http.StatusNoContent {
			s.Errorf("got %d %q, want 204", a.status, a.body)
		}
		if a := s.getJSON("alice", "?wait=0"); a.status != http.StatusNoContent {
			s.Errorf("got %d %q: the event is still there", a.status, a.body)
		}
		if a := s.get("alice", "?wait=0&events=yes"); a.code != "bad-request" {
			s.Errorf("got %d %s for events=yes", a.status, a.body)
		}
	})
}

// A long poll that does not want events waits on when one arrives, parked or not.
func TestRawLongPollWaitsOnForAMessage(t *testing.T) {
	overEach(t, []wire{memory, tcp, twoServers}, config{}, func(s *server) {
		s.join("alice", "standup")
		waiting := s.wait("alice", "?after=0")
		s.join("bob", "standup")
		s.send("bob", "alice", "hello")
		if a := waiting.answer(); a.body != "hello" {
			s.Errorf("got %d %q, want the message", a.status, a.body)
		}
	})
}

func TestRoomOverStreams(t *testing.T) {
	overEach(t, streamWires, config{}, func(s *server) {
		s.join("alice", "standup")
		events := s.stream(request{id: "alice", query: "?after=0"})
		s.join("bob", "standup")
		event, ok := events.event()
		if !ok || event.name != "message" {
			s.Fatalf("got %+v", event)
		}
		m := s.parseEvent(event.data)
		s.wantEvent(m, "standup", inbox.RoomJoined, "bob")
		if m.Cursor != event.id {
			s.Errorf("the event has the id %s and the cursor %s", event.id, m.Cursor)
		}
		s.send("bob", "alice", "hello")
		events.wantMessages("bob", "hello")
		events.left()
	})
}

func TestRoomOverSockets(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		alice, bob := s.socket("alice", ""), s.socket("bob", "")
		alice.say(`{"type":"join","room":"standup"}`)
		if got := alice.raw(); got != `{"type":"joined","members":["alice"],"room":"standup"}` {
			s.Fatalf("got %s", got)
		}
		bob.say(`{"type":"join","room":"standup"}`)
		if got := bob.raw(); got != `{"type":"joined","members":["alice","bob"],"room":"standup"}` {
			s.Fatalf("got %s", got)
		}
		m := s.parseEvent(alice.raw())
		s.wantEvent(m, "standup", inbox.RoomJoined, "bob")
		if m.Type != "message" {
			s.Errorf("the frame has the type %q", m.Type)
		}
		bob.say(`{"type":"leave","room":"standup"}`)
		if got := bob.raw(); got != `{"type":"left","room":"standup"}` {
			s.Fatalf("got %s", got)
		}
		s.wantEvent(s.parseEvent(alice.raw()), "standup", inbox.RoomLeft, "bob")

		for frame, want := range map[string]string{
			`{"type":"join","room":""}`:              `{"type":"error","code":"bad-request","status":400,"room":""}`,
			`{"type":"join"}`:                        `{"type":"error","code":"bad-request","status":400,"room":""}`,
			`{"type":"leave","room":"a:b"}`:          `{"type":"error","code":"bad-request","status":400,"room":""}`,
			`{"type":"join","room":" \u0000secret"}`: `{"type":"error","code":"bad-request","status":400,"room":""}`,
		} {
			bob.say("%s", frame)
			if got := bob.raw(); got != want {
				s.Errorf("%s: got %s, want %s", frame, got, want)
			}
		}
		bob.usable("bob")
	})
}

func TestRoomErrors(t *testing.T) {
	overStores(t, config{limits: inbox.Limits{RoomMembers: 2, Rooms: 2}}, func(s *server) {
		s.join("alice", "standup")
		s.join("bob", "standup")
		s.join("bob", "lunch")
		for _, c := range []struct{ method, id, query, code string }{
			{http.MethodPut, "carol", "?room=standup", "room-full"},
			{http.MethodPut, "bob", "?room=third", "too-many-rooms"},
			{http.MethodPut, "alice", "", "bad-request"},
			{http.MethodPut, "alice", "?room=", "bad-request"},
			{http.MethodPut, "alice", "?room=a&room=b", "bad-request"},
			{http.MethodPut, "alice", "?room=a%3Ab", "bad-request"},
			{http.MethodPut, "alice", "?room=" + strings.Repeat("x", 513), "bad-request"},
			{http.MethodDelete, "alice", "?room=", "bad-request"},
			{http.MethodDelete, "alice", "?room=a&room=b", "bad-request"},
			{http.MethodDelete, "alice", "?room=standup&life=0", "bad-request"},
		} {
			if a := s.do(request{method: c.method, id: c.id, query: c.query}); a.code != c.code {
				s.Errorf("%s %.40s: got %d %s, want %s", c.method, c.query, a.status, a.body, c.code)
			}
		}
		for _, method := range []string{http.MethodPut, http.MethodDelete} {
			a := s.do(request{method: method, id: "alice", password: "wrong", query: "?room=standup"})
			if a.code != "unauthorized" {
				s.Errorf("%s with another password: got %d %s", method, a.status, a.body)
			}
		}
		wantMembers(s, s.join("alice", "standup"), "alice", "bob")
		s.leaveRoom("alice", "standup")
		wantMembers(s, s.join("carol", "standup"), "bob", "carol")
		s.leaveRoom("nobody", "standup")
		if s.alive("nobody") {
			s.Error("leaving a room has opened an inbox")
		}
	})
}

// The events of joins, leaves and closes count against the address that caused them, and so
// does a join of a full room, for which the server looks at all members.
func TestRoomsAreLimitedByTheirEvents(t *testing.T) {
	const members = 64
	in := func(method, id string) request {
		return request{method: method, id: id, query: "?room=standup"}
	}
	inBubble(t, limited(limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 100}}), func(s *server) {
		for i := range members {
			for _, room := range []string{"standup", "lunch"} {
				if _, err := s.store.Join(s.Context(), s.peer(fmt.Sprint("member-", i)), room); err != nil {
					s.Fatal(err)
				}
			}
		}
		for _, of := range []struct {
			name string
			do   func(i int) request
		}{
			{"joins", func(int) request { return in(http.MethodPut, "member-0").from("192.0.2.2") }},
			{"joins of a full room", func(int) request { return in(http.MethodPut, "another").from("192.0.2.3") }},
			{"leaves", func(i int) request {
				return in(http.MethodDelete, fmt.Sprint("member-", members-1-i)).from("192.0.2.4")
			}},
			{"closes", func(i int) request {
				return request{method: http.MethodDelete, id: fmt.Sprint("member-", i)}.from("192.0.2.5")
			}},
		} {
			n := 0
			for s.do(of.do(n)).status != http.StatusTooManyRequests {
				n++
			}
			if most := 100/(1+(members-16)/8) + 1; n > most {
				s.Errorf("with a limit of 100 requests, an address made %d %s of %d members, want at most %d", n, of.name, members, most)
			}
		}
	})
}

// looks counts the calls of Look.
type looks struct {
	inbox.Store
	n atomic.Int64
}

func (s *looks) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	s.n.Add(1)
	return s.Store.Look(ctx, p, after, limit, w)
}

// A raw poll skips hundreds of events in a few calls of the store, each of which may be a round
// trip to Redis.
func TestRawPollSkipsManyEventsAtOnce(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		counted := &looks{Store: s.store.Store}
		s.store.Store = counted
		s.join("alice", "standup")
		for range 100 {
			s.join("bob", "standup")
			s.leaveRoom("bob", "standup")
		}
		s.send("bob", "alice", "one")
		s.send("bob", "alice", "two")
		before := counted.n.Load()
		if a := s.do(request{id: "alice", query: "?wait=0"}); a.status != http.StatusOK || a.body != "one" {
			s.Errorf("got %d %s", a.status, a.body)
		}
		if n := counted.n.Load() - before; n > 10 {
			s.Errorf("200 events took %d calls of the store", n)
		}
		if a := s.do(request{id: "alice", query: "?wait=0"}); a.body != "two" {
			s.Errorf("got %d %s", a.status, a.body)
		}
	})
}
