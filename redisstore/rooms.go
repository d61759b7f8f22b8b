package redisstore

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"inbox"
	"inbox/internal/redislink"
)

// The key of a room and the inboxes of its members are in different slots, so no script can
// change both. If a server stops in the middle, another server completes its work:
//
//   - A room keeps its latest events until every member has them (room.lua). An inbox keeps the
//     version of the last event it got, so a repeated delivery has no effect (notify.lua).
//   - A membership is a token that the room and the inbox share. An inbox that expires or
//     closes loses it. A server that delivers an event detects that and removes the member.
//   - Every third of a TTL, one of the servers checks each room (due.lua). It removes members
//     that have expired, and delivers events that other servers have not delivered.

// roomTag returns the tag of a room in Redis: a keyed hash of its name, with the partition as
// the last byte.
func (s *Store) roomTag(name string) string {
	sum := s.roomNames.Of(name)
	return string(sum[:17])
}

// roomPlace returns the place of the room with the given tag.
func (s *Store) roomPlace(tag string) place {
	partition := tag[16]
	key := s.prefix + "{" + redislink.Tag(partition) + "}" + base64.RawURLEncoding.EncodeToString([]byte(tag[:16])) + ":room"
	return place{keys: []string{key}, partition: partition, tag: tag}
}

// duePlace returns the place of the set of rooms to check.
func (s *Store) duePlace() place {
	return place{keys: []string{s.prefix + "{" + redislink.Tag(0) + "}rooms"}}
}

// roomInterval is the interval between checks of a room. An expiry must be reported within
// half a TTL, so a third of it leaves time for the check.
func (s *Store) roomInterval() time.Duration { return s.limits.TTL / 3 }

// keepRooms returns how long Redis keeps rooms without checks, in milliseconds.
func (s *Store) keepRooms() string {
	return strconv.FormatInt(max(24*time.Hour, 2*s.limits.TTL).Milliseconds(), 10)
}

// room is the state of a room, as room.lua returns it.
type room struct {
	version uint64
	name    string
	members []roomMember // in the order in which they joined
	events  []roomEvent  // not yet delivered to every member, oldest first
}

type roomMember struct {
	token, id string
	joined    uint64 // version of the room
	behind    bool   // events were dropped
}

type roomEvent struct {
	version uint64
	kind    inbox.EventKind
	id      string
}

// Join implements [inbox.Store]. It takes five round trips, and a few more if members have
// expired.
func (s *Store) Join(ctx context.Context, p inbox.Peer, name string) (members []string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	tag, at := s.roomTag(name), s.place(p.ID)
	token, isNew, err := s.enter(ctx, at, p, tag)
	if err != nil {
		return nil, err
	}
	if _, err := s.due(ctx, "set", tag); err != nil {
		return nil, err
	}
	r, err := s.joinRoom(ctx, at, p.ID, name, tag, token)
	if err == inbox.ErrRoomFull {
		s.deliver(ctx, tag, r, true) // also removes members that have expired
		r, err = s.joinRoom(ctx, at, p.ID, name, tag, token)
	}
	if err != nil {
		if isNew && err == inbox.ErrRoomFull {
			err = s.dropMembership(ctx, at, tag, token, err)
		}
		return nil, err
	}
	r = s.deliver(ctx, tag, r, false)
	return r.ids(), nil
}

// enter opens p's inbox and adds a membership to it. It returns the token of the membership,
// which is the existing one if p is a member already.
func (s *Store) enter(ctx context.Context, at place, p inbox.Peer, tag string) (membership string, isNew bool, err error) {
	opens := "1"
	if s.hasQuota(p) {
		opens = "0"
	}
	own := token()
	args := append(s.credentialArgs(p), token(), s.ttl(), opens, "enter", tag, own, strconv.Itoa(s.limits.Rooms), "")
	reply, err := s.run(ctx, &enterScript, at, args, nil)
	if err == nil && reply.code == codeNoInbox {
		if err = s.mayOpen(p); err == nil {
			args[6] = "1"
			reply, err = s.run(ctx, &enterScript, at, args, nil)
		}
	}
	if err == nil {
		err = reply.err()
	}
	return reply.text(1), reply.text(1) == own, err
}

// dropMembership removes a membership from an inbox. It returns because, or the error of the
// removal.
func (s *Store) dropMembership(ctx context.Context, at place, tag, membership string, because error) error {
	args := append(s.credentialArgs(inbox.Peer{}), "", "0", "0", "drop", tag, membership, "0", "")
	if _, err := s.run(ctx, &memberScript, at, args, nil); err != nil {
		return err
	}
	return because
}

// LeaveRoom implements [inbox.Store]. It takes five round trips.
func (s *Store) LeaveRoom(ctx context.Context, p inbox.Peer, name string) (left int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	tag, at := s.roomTag(name), s.place(p.ID)
	args := append(s.credentialArgs(p), "", s.ttl(), "0", "find", tag, "", "0", "")
	reply, err := s.run(ctx, &memberScript, at, args, nil)
	if err == nil {
		err = reply.err()
	}
	membership := reply.text(1)
	if err != nil || membership == "" {
		return 0, err
	}
	// The room comes first: if the server stops here, the inbox can still leave.
	r, err := s.removeMembers(ctx, tag, inbox.RoomLeft, membership)
	if err != nil {
		return 0, err
	}
	r = s.deliver(ctx, tag, r, false)
	return len(r.members), s.dropMembership(ctx, at, tag, membership, nil)
}

// leaveAll removes an inbox that was just closed from its rooms. If that fails, a later check
// of the rooms does it. It returns the number of members that get an event.
func (s *Store) leaveAll(ctx context.Context, closed reply) (notified int) {
	if len(closed.fields) < 3 {
		return 0
	}
	rooms, _ := closed.fields[2].AsStrSlice()
	for i := 0; i+1 < len(rooms); i += 2 {
		tag, entry := rooms[i], rooms[i+1]
		if len(tag) != 17 || len(entry) != 16 {
			continue
		}
		if r, err := s.removeMembers(ctx, tag, inbox.RoomLeft, entry[:8]); err == nil {
			notified += len(s.deliver(ctx, tag, r, false).members)
		}
	}
	return notified
}

// joinRoom adds a member to a room. With ErrRoomFull it returns the room too.
func (s *Store) joinRoom(ctx context.Context, at place, id, name, tag, membership string) (room, error) {
	return s.room(ctx, &joinScript, tag, "join", at.tag, membership, s.sealed(id), s.sealed(name), strconv.Itoa(s.limits.RoomMembers))
}

func (s *Store) removeMembers(ctx context.Context, tag string, why inbox.EventKind, memberships ...string) (room, error) {
	return s.room(ctx, &roomScript, tag, append([]string{"remove", string(why)}, memberships...)...)
}

// room runs room.lua.
func (s *Store) room(ctx context.Context, sc *script, tag string, args ...string) (room, error) {
	args = slices.Concat(args[:1], []string{s.keepRooms()}, args[1:], []string{""})
	reply, err := s.run(ctx, sc, s.roomPlace(tag), args, nil)
	if err != nil {
		return room{}, err
	}
	r, err := s.parseRoom(reply)
	if err == nil {
		err = reply.err()
	}
	return r, err
}

// parseRoom reads the answer of room.lua.
func (s *Store) parseRoom(from reply) (r room, err error) {
	if len(from.fields) != 5 {
		return room{}, errReply
	}
	members, err := from.fields[3].ToArray()
	if err != nil || len(members)%4 != 0 {
		return room{}, errReply
	}
	events, err := from.fields[4].ToArray()
	if err != nil || len(events)%3 != 0 {
		return room{}, errReply
	}
	var failed bool
	text := func(m rueidis.RedisMessage) string {
		v, err := m.ToString()
		failed = failed || err != nil
		return v
	}
	open := func(m rueidis.RedisMessage) string {
		v, ok := s.unsealed(text(m))
		failed = failed || !ok
		return v
	}
	number := func(m rueidis.RedisMessage) uint64 {
		v, err := m.AsInt64()
		failed = failed || err != nil
		return uint64(v)
	}
	r.version = number(from.fields[1])
	if len(members) > 0 {
		r.name = open(from.fields[2])
	}
	for m := range slices.Chunk(members, 4) {
		r.members = append(r.members, roomMember{text(m[0]), open(m[1]), number(m[2]), number(m[3]) == 1})
	}
	for e := range slices.Chunk(events, 3) {
		r.events = append(r.events, roomEvent{number(e[0]), inbox.EventKind(text(e[1])), open(e[2])})
	}
	if failed {
		return room{}, errReply
	}
	return r, nil
}

func (r room) ids() []string {
	ids := make([]string, len(r.members))
	for i, m := range r.members {
		ids[i] = m.id
	}
	return ids
}

// maxDeliveries bounds the members to which an event is delivered concurrently.
const maxDeliveries = 16

// deliver appends to every member's inbox the events that it does not have, and returns the
// resulting state of the room. With probe, it also checks members without new events for
// expiry. If a member cannot be reached, the events stay in the room for the next check.
func (s *Store) deliver(ctx context.Context, tag string, r room, probe bool) room {
	for {
		outcomes := s.deliverAll(ctx, tag, r, probe)
		var gone, behind []string
		reached := true
		for i, m := range r.members {
			switch outcomes[i] {
			case codeGone:
				gone = append(gone, m.token)
			case codeBehind:
				behind = append(behind, m.token)
			case codeLate:
				reached = false
			}
		}
		if len(gone) > 0 {
			after, err := s.removeMembers(ctx, tag, inbox.RoomExpired, gone...)
			if err != nil {
				return r
			}
			r, probe = after, false
			continue // with the other members
		}
		wasBehind := slices.ContainsFunc(r.members, func(m roomMember) bool { return m.behind })
		if reached && (len(r.events) > 0 || len(behind) > 0 || wasBehind) {
			args := append([]string{"delivered", strconv.FormatUint(r.version, 10)}, behind...)
			// If this fails, the next check delivers the events again, without effect.
			_, _ = s.room(ctx, &roomScript, tag, args...)
		}
		return r
	}
}

// deliverAll delivers events to the members of a room. For each member it returns the code of the
// last script, or codeLate if the script could not run.
func (s *Store) deliverAll(ctx context.Context, tag string, r room, probe bool) []int64 {
	outcomes := make([]int64, len(r.members))
	var events []string
	first := r.version + 1
	if len(r.events) > 0 {
		first = r.events[0].version
	}
	for _, e := range r.events {
		events = append(events, strconv.FormatUint(e.version, 10), eventContent(inbox.Event{Room: r.name, Kind: e.kind, Peer: e.id}))
	}
	var telling sync.WaitGroup
	slots := make(chan struct{}, maxDeliveries)
	for i, m := range r.members {
		if !probe && (len(r.events) == 0 && !m.behind || m.joined >= r.version) {
			continue // the member has all events
		}
		slots <- struct{}{}
		telling.Go(func() {
			defer func() { <-slots }()
			outcomes[i] = s.notify(ctx, tag, m, first, false, events)
			if outcomes[i] == codeGap {
				all := inbox.Event{Room: r.name, Kind: inbox.RoomMembers, Members: r.ids()}
				outcomes[i] = s.notify(ctx, tag, m, first, true, []string{strconv.FormatUint(r.version, 10), eventContent(all)})
			}
		})
	}
	telling.Wait()
	return outcomes
}

// notify runs notify.lua and wakes the receiver if it is at this server.
func (s *Store) notify(ctx context.Context, tag string, m roomMember, first uint64, catchUp bool, events []string) int64 {
	at := s.place(m.id)
	flag := "0"
	if catchUp {
		flag = "1"
	}
	args := append([]string{
		tag, m.token, strconv.FormatUint(m.joined, 10), strconv.FormatUint(first, 10),
		strconv.Itoa(inbox.MaxEvents), flag, token(), s.ttl(), s.Server(), s.Channel(at.partition),
	}, events...)
	reply, err := s.run(ctx, &notifyScript, at, append(args, ""), nil)
	if err != nil {
		return codeLate
	}
	s.receivers.wake(reply.localReceiver(1))
	return reply.code
}

// eventContent returns the content of an event in an inbox: an empty sender, and the body.
func eventContent(e inbox.Event) string {
	return string(append(binary.BigEndian.AppendUint16(nil, 0), e.Body()...))
}

// sealed encrypts a name, so that a dump of Redis does not reveal it.
func (s *Store) sealed(name string) string {
	return string(s.roomSeal.Seal(nil, nil, []byte(name), nil))
}

func (s *Store) unsealed(sealed string) (name string, ok bool) {
	b, err := s.roomSeal.Open(nil, nil, []byte(sealed), nil)
	return string(b), err == nil
}

// due runs due.lua.
func (s *Store) due(ctx context.Context, what string, args ...string) (reply, error) {
	all := append([]string{what, strconv.FormatInt(s.roomInterval().Microseconds(), 10), s.keepRooms()}, args...)
	return s.run(ctx, &dueScript, s.duePlace(), append(all, ""), nil)
}

// sweepRooms checks the rooms that are due, until ctx ends.
func (s *Store) sweepRooms(ctx context.Context) {
	tick := time.NewTicker(max(s.roomInterval()/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for s.sweepSome(ctx) {
		}
	}
}

// sweepSome claims at most 32 due rooms and checks them. It reports whether more may be due.
func (s *Store) sweepSome(ctx context.Context) (more bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	reply, err := s.due(ctx, "claim")
	if err != nil || len(reply.fields) != 3 {
		return false
	}
	claimed := reply.text(1)
	tags, err := reply.fields[2].AsStrSlice()
	if err != nil {
		return false
	}
	for _, tag := range tags {
		if len(tag) != 17 {
			continue
		}
		r, err := s.room(ctx, &roomScript, tag, "read")
		switch {
		case err != nil:
		case len(r.members) > 0:
			s.deliver(ctx, tag, r, true)
		default:
			_, _ = s.due(ctx, "forget", tag, claimed)
		}
	}
	return len(tags) == 32
}
