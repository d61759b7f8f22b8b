package redisstore

import (
	"context"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// events returns and removes the events in an inbox, as text.
func events(t *testing.T, s *Store, id string) (all []string) {
	t.Helper()
	reached(t, func() error {
		b, err := s.Look(t.Context(), peer(id), inbox.Cursor{}, 100, nil)
		if err != nil {
			return err
		}
		all = nil
		for i := range b.Messages {
			if e, ok := b.Messages[i].Event(); ok {
				all = append(all, string(e.Kind)+" "+e.Peer+strings.Join(e.Members, ", "))
			}
		}
		_, err = s.Acknowledge(t.Context(), peer(id), b.Cursor, nil)
		return err
	})
	return all
}

// If a server stops between changing a room and notifying the members, another server
// notifies them.
func TestCrashBetweenARoomAndItsMembers(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	config := Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: 3 * time.Second}}
	s, other := open(t, config), open(t, config)
	for _, id := range []string{"alice", "bob"} {
		if _, err := s.Join(t.Context(), peer(id), "standup"); err != nil {
			t.Fatal(err)
		}
	}
	events(t, s, "alice")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tag, at := s.roomTag("standup"), s.place("carol")
	token, _, err := s.enter(ctx, at, peer("carol"), tag)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.joinRoom(ctx, at, "carol", "standup", tag, token); err != nil {
		t.Fatal(err)
	}
	var got []string
	inboxtest.Until(t, "the other server has told alice", func() bool {
		got = append(got, events(t, other, "alice")...)
		events(t, other, "bob")
		events(t, other, "carol")
		return len(got) > 0
	})
	if strings.Join(got, ", ") != "joined carol" {
		t.Errorf("alice got the events %q", got)
	}
}

// A dump of Redis shows neither the names of rooms nor the ids of their members.
func TestRoomsAreSealedAndExpire(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: 2 * time.Second}})
	for _, id := range []string{"alice-known", "bob-known"} {
		if _, err := s.Join(t.Context(), peer(id), "room-known"); err != nil {
			t.Fatal(err)
		}
	}
	found := false
	m := redis.Must("KEYS", "*:room")
	keys, _ := m.AsStrSlice()
	for _, key := range keys {
		found = true
		m, err := redis.Do("DUMP", key)
		if err != nil {
			t.Fatal(err)
		}
		content, _ := m.ToString()
		if strings.Contains(key+content, "known") {
			t.Errorf("%s shows a name", key)
		}
	}
	if !found {
		t.Error("there is no room in Redis")
	}
	inboxtest.Until(t, "the room has gone from Redis", func() bool {
		m := redis.Must("KEYS", "*room*")
		keys, _ := m.AsStrSlice()
		return len(keys) == 0
	})
}

// A room that another program has overwritten is lost, and can be joined again.
func TestRoomThatAnotherProgramHasWrittenTo(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr})
	for _, spoil := range [][]string{{"SET", "x"}, {"LPUSH", "x"}, {"SET", "\x80"}, {"SET", "\xc0"}} {
		if _, err := s.Join(t.Context(), peer("alice"), "standup"); err != nil {
			t.Fatal(err)
		}
		key := s.roomPlace(s.roomTag("standup")).keys[0]
		redis.Must("DEL", key)
		redis.Must(spoil[0], key, spoil[1])
		members, err := s.Join(t.Context(), peer("bob"), "standup")
		if err != nil || len(members) != 1 {
			t.Errorf("%q: %q, %v", spoil, members, err)
		}
		if _, err := s.LeaveRoom(t.Context(), peer("bob"), "standup"); err != nil {
			t.Errorf("%q: %v", spoil, err)
		}
	}
	// The inbox's side of its memberships.
	if _, err := s.Join(t.Context(), peer("carol"), "lunch"); err != nil {
		t.Fatal(err)
	}
	redis.Must("SET", s.place("carol").keys[5], "x")
	if members, err := s.Join(t.Context(), peer("carol"), "lunch"); err != nil || len(members) != 1 {
		t.Errorf("an inbox whose memberships were overwritten: %q, %v", members, err)
	}
}

// If a failover loses the latest version of a room, no other event gets the same version:
// every member gets a list of all members instead.
func TestRoomAfterAFailoverThatLostAVersion(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr})
	for _, id := range []string{"alice", "bob"} {
		if _, err := s.Join(t.Context(), peer(id), "standup"); err != nil {
			t.Fatal(err)
		}
	}
	key := s.roomPlace(s.roomTag("standup")).keys[0]
	m := redis.Must("GET", key)
	before, err := m.ToString()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Join(t.Context(), peer("lost"), "standup"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(events(t, s, "alice"), ", "); got != "joined bob, joined lost" {
		t.Fatalf("alice got the events %q", got)
	}
	const otherHistory = "local r = cmsgpack.unpack(ARGV[1]) r.history = 'earlier!' redis.call('SET', KEYS[1], cmsgpack.pack(r)) return 1"
	redis.Must("EVAL", otherHistory, "1", key, before)
	members, err := s.Join(t.Context(), peer("carol"), "standup")
	if err != nil || strings.Join(members, ", ") != "alice, bob, carol" {
		t.Fatalf("the members are %q, %v", members, err)
	}
	if got := strings.Join(events(t, s, "alice"), ", "); got != "members alice, bob, carol" {
		t.Errorf("alice got the events %q", got)
	}
}

// kinds joins events to one text.
func kinds(t *testing.T, s *Store, id string) string {
	t.Helper()
	return strings.Join(events(t, s, id), ", ")
}

func join(t *testing.T, s *Store, id, room string) {
	t.Helper()
	reached(t, func() error {
		_, err := s.Join(t.Context(), peer(id), room)
		return err
	})
}

// A room in which nothing changes exists for as long as it has members.
func TestQuietRoomIsKept(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: 3 * time.Second}})
	join(t, s, "alice", "standup")
	ttl := func(key string) int64 {
		m := redis.Must("PTTL", key)
		ms, _ := m.AsInt64()
		return ms
	}
	for _, key := range []string{s.roomPlace(s.roomTag("standup")).keys[0], s.duePlace().keys[0]} {
		redis.Must("PEXPIRE", key, "10000")
		inboxtest.Until(t, "a server has extended the life of "+key, func() bool {
			events(t, s, "alice")
			return ttl(key) > 3600_000
		})
	}
	long := s.at("long:", inbox.Limits{TTL: 1000 * time.Hour})
	join(t, long, "alice", "standup")
	for _, key := range []string{long.roomPlace(long.roomTag("standup")).keys[0], long.duePlace().keys[0]} {
		if ms := ttl(key); ms < (1000 * time.Hour).Milliseconds() {
			t.Errorf("%s expires in %d ms, before the members", key, ms)
		}
	}
}

// Repeated joins do not postpone the next check of a room.
func TestJoinsDoNotPostponeTheLook(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: time.Hour}})
	join(t, s, "alice", "standup")
	due := func() float64 {
		m := redis.Must("ZSCORE", s.duePlace().keys[0], s.roomTag("standup"))
		at, err := m.AsFloat64()
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	first := due()
	join(t, s, "alice", "standup")
	if again := due(); again >= first || again < first-1000 {
		t.Errorf("the look was due at %.0f and is now due at %.0f", first, again)
	}
}

// A room that was lost begins with versions that its earlier members do not know yet.
func TestMemberOfALostRoomMissesNothing(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := open(t, Config{URL: "redis://" + redis.Addr})
	join(t, s, "alice", "standup")
	for range 3 {
		join(t, s, "bob", "standup")
		reached(t, func() error {
			_, err := s.LeaveRoom(t.Context(), peer("bob"), "standup")
			return err
		})
	}
	events(t, s, "alice")
	redis.Must("DEL", s.roomPlace(s.roomTag("standup")).keys[0])
	join(t, s, "alice", "standup")
	join(t, s, "bob", "standup")
	if got := kinds(t, s, "alice"); got != "joined bob" {
		t.Errorf("alice got the events %q", got)
	}
}
