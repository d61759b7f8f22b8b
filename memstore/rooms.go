package memstore

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"inbox"
	"inbox/internal/shrink"
)

// roomShards is the number of shards of rooms, each with a lock.
const roomShards = 32

// A roomShard contains a part of all rooms. Its lock guards them. It is held while an event is
// appended to the members' inboxes, which keeps the events of a room in order. It is acquired
// before the lock of an inbox's shard, never after it.
type roomShard struct {
	sync.Mutex
	rooms shrink.Map[string, *room]
	_     [64]byte
}

// A room is a list of inboxes, in the order in which they joined.
type room struct {
	name    string
	members []*membership
}

// A membership is the place of one inbox in one room.
type membership struct {
	room   *room
	in     *entry
	joined uint64 // sequence number of the join, across all rooms
	behind bool   // an event was dropped; guarded by the room's shard
}

// memberships are the rooms of one inbox, and the events that it buffers. The inbox's shard
// guards them.
type memberships struct {
	all    []*membership
	events int  // messages from the server in the inbox
	bytes  int  // total size of their bodies
	behind bool // at least one membership may be behind
}

// membershipCost is the memory of a membership, with its share of the room and the maps.
const membershipCost = 320

// cost returns the memory that the memberships count for, without the events.
func (ms *memberships) cost() (cost int64) {
	if ms == nil {
		return 0
	}
	for _, m := range ms.all {
		cost += costOfMembership(m.room.name)
	}
	return cost
}

func costOfMembership(room string) int64 { return membershipCost + sizeCost(len(room)) }

func (ms *memberships) find(name string) *membership {
	if ms == nil {
		return nil
	}
	i := slices.IndexFunc(ms.all, func(m *membership) bool { return m.room.name == name })
	if i < 0 {
		return nil
	}
	return ms.all[i]
}

func (s *Store) roomShard(name string) *roomShard {
	return &s.rooms[maphash.String(s.seed, name)%roomShards]
}

// Join implements [inbox.Store].
func (s *Store) Join(_ context.Context, p inbox.Peer, name string) (members []string, err error) {
	members, err = s.join(p, name)
	if err == inbox.ErrServerFull {
		s.removeExpired()
		members, err = s.join(p, name)
	}
	return members, err
}

func (s *Store) join(p inbox.Peer, name string) ([]string, error) {
	defer s.settle()
	rs := s.roomShard(name)
	rs.Lock()
	defer rs.Unlock()
	r := rs.rooms.Get(name)
	if r == nil {
		r = &room{name: strings.Clone(name)} // name may be a part of a long URL
	}
	s.pruneLocked(rs, r)
	m, isNew, err := s.enter(p, r)
	if err != nil {
		rs.dropIfEmpty(r)
		return nil, err
	}
	if isNew {
		r.members = append(r.members, m)
		rs.rooms.Put(r.name, r)
		s.deliverLocked(r, inbox.Event{Room: name, Kind: inbox.RoomJoined, Peer: m.in.id}, m)
	}
	return r.ids(), nil
}

// enter opens p's inbox and adds a membership to it, unless it has one already.
func (s *Store) enter(p inbox.Peer, r *room) (m *membership, isNew bool, err error) {
	sh := s.shard(p.ID)
	sh.Lock()
	defer sh.Unlock()
	in, err := sh.openLocked(p, 0, s.now())
	if err != nil {
		return nil, false, err
	}
	if m := in.rooms.find(r.name); m != nil {
		return m, false, nil
	}
	cost := costOfMembership(r.name)
	switch {
	case len(r.members) >= s.limits.RoomMembers:
		return nil, false, inbox.ErrRoomFull
	case in.rooms != nil && len(in.rooms.all) >= s.limits.Rooms:
		return nil, false, inbox.ErrTooManyRooms
	case !s.hold(in, cost):
		return nil, false, inbox.ErrRateLimited
	case !s.reserveMemory(cost):
		s.hold(in, -cost)
		return nil, false, inbox.ErrServerFull
	}
	m = &membership{room: r, in: in, joined: s.joins.Add(1)}
	in.inRooms().all = append(in.rooms.all, m)
	return m, true, nil
}

// inRooms returns the memberships of an inbox, which may have none yet.
func (in *entry) inRooms() *memberships {
	if in.rooms == nil {
		in.rooms = &memberships{}
	}
	return in.rooms
}

// LeaveRoom implements [inbox.Store].
func (s *Store) LeaveRoom(_ context.Context, p inbox.Peer, name string) (left int, err error) {
	defer s.settle()
	rs := s.roomShard(name)
	rs.Lock()
	defer rs.Unlock()
	m, err := s.exit(p, name)
	if m != nil {
		s.removeMemberLocked(rs, m, inbox.RoomLeft)
		left = len(m.room.members)
	}
	return left, err
}

// exit removes a membership from p's inbox and returns it, or nil if there is no such
// membership.
func (s *Store) exit(p inbox.Peer, name string) (*membership, error) {
	sh := s.shard(p.ID)
	sh.Lock()
	defer sh.Unlock()
	in := sh.findLocked(p.ID, s.now())
	if in == nil {
		return nil, nil
	}
	if err := s.admitLocked(in, p, 0, s.now()); err != nil {
		return nil, err
	}
	m := in.rooms.find(name)
	if m == nil {
		return nil, nil
	}
	in.rooms.all = slices.DeleteFunc(in.rooms.all, func(other *membership) bool { return other == m })
	cost := costOfMembership(name)
	s.memory.Add(-cost)
	s.hold(in, -cost)
	return m, nil
}

// ids returns the ids of all members.
func (r *room) ids() []string {
	ids := make([]string, len(r.members))
	for i, m := range r.members {
		ids[i] = m.in.id
	}
	return ids
}

func (rs *roomShard) dropIfEmpty(r *room) {
	if len(r.members) == 0 {
		rs.rooms.Delete(r.name)
	}
}

// removeMemberLocked removes a member from its room and sends the event to the others. It
// reports false for a member that was removed before.
func (s *Store) removeMemberLocked(rs *roomShard, m *membership, why inbox.EventKind) bool {
	i := slices.Index(m.room.members, m)
	if i < 0 {
		return false
	}
	m.room.members = slices.Delete(m.room.members, i, i+1)
	s.deliverLocked(m.room, inbox.Event{Room: m.room.name, Kind: why, Peer: m.in.id}, nil)
	rs.dropIfEmpty(m.room)
	return true
}

// pruneLocked removes the members whose inboxes have expired, so that they neither take
// up room nor appear in the list that a join returns.
func (s *Store) pruneLocked(rs *roomShard, r *room) {
	for _, m := range slices.Clone(r.members) {
		sh := s.shard(m.in.id)
		sh.Lock()
		alive := sh.findLocked(m.in.id, s.now()) == m.in
		sh.Unlock()
		if !alive {
			s.removeMemberLocked(rs, m, inbox.RoomExpired)
		}
	}
}

// deliverLocked appends an event to the inboxes of all members except one.
func (s *Store) deliverLocked(r *room, e inbox.Event, except *membership) {
	body := e.Body()
	for _, m := range r.members {
		if m != except {
			s.deliver(m, body)
		}
	}
}

// deliver appends an event to a member's inbox. If the inbox is too far behind, or memory is
// short, it drops the event, and catchUp later appends a list of all members.
func (s *Store) deliver(m *membership, body []byte) {
	event := inbox.Message{Time: time.Now().UTC(), Body: body}
	cost := costOf(&event)
	in, sh := m.in, s.shard(m.in.id)
	sh.Lock()
	if sh.findLocked(in.id, s.now()) != in { // settle removes it from the room
		sh.Unlock()
		return
	}
	fits := !m.behind && in.rooms.events < inbox.MaxEvents && s.reserveMemory(cost)
	if fits && !s.hold(in, cost) {
		s.memory.Add(-cost)
		fits = false
	}
	if !fits {
		m.behind, in.rooms.behind = true, true
		sh.Unlock()
		return
	}
	in.rooms.events++
	in.rooms.bytes += len(body)
	sh.addLocked(in, event, cost)
	waker := in.waker
	sh.Unlock()
	if waker != nil {
		waker.Wake()
	}
}

// A leftover is work that can only be done without the lock of an inbox's shard.
type leftover struct {
	in      *entry
	expired bool // otherwise it has room for the events that it missed
}

// leftovers is a queue of leftover work.
type leftovers struct {
	sync.Mutex
	queue []leftover
	some  atomic.Bool // whether queue is not empty
}

// leave queues work for settle. The caller may hold the lock of a shard.
func (s *Store) leave(l leftover) {
	s.left.Lock()
	defer s.left.Unlock()
	s.left.queue = append(s.left.queue, l)
	s.left.some.Store(true)
}

// settle removes members whose inboxes have expired from their rooms, and updates members that
// have missed events. It runs after every operation that may have caused either.
func (s *Store) settle() {
	for s.left.some.Load() {
		s.left.Lock()
		queue := s.left.queue
		s.left.queue = nil
		s.left.some.Store(false)
		s.left.Unlock()
		for _, l := range queue {
			if l.expired {
				s.depart(l.in, inbox.RoomExpired)
			} else {
				s.catchUp(l.in)
			}
		}
	}
}

// depart removes an inbox that has ended from its rooms. It returns the number of members that
// get an event.
func (s *Store) depart(in *entry, why inbox.EventKind) (notified int) {
	if in.rooms == nil {
		return 0
	}
	for _, m := range in.rooms.all {
		rs := s.roomShard(m.room.name)
		rs.Lock()
		if s.removeMemberLocked(rs, m, why) {
			notified += len(m.room.members)
		}
		rs.Unlock()
	}
	return notified
}

// catchUp appends to an inbox the list of members of every room whose events it has missed.
func (s *Store) catchUp(in *entry) {
	sh := s.shard(in.id)
	sh.Lock()
	all := slices.Clone(in.rooms.all)
	sh.Unlock()
	for _, m := range all {
		rs := s.roomShard(m.room.name)
		rs.Lock()
		if m.behind && slices.Contains(m.room.members, m) {
			m.behind = false
			s.deliver(m, inbox.Event{Room: m.room.name, Kind: inbox.RoomMembers, Members: m.room.ids()}.Body())
		}
		rs.Unlock()
	}
}

// caughtUpLocked queues an inbox that has missed events and has room again.
func (s *Store) caughtUpLocked(in *entry) {
	if in.rooms != nil && in.rooms.behind && in.rooms.events <= inbox.MaxEvents/2 {
		in.rooms.behind = false
		s.leave(leftover{in: in})
	}
}

// rejoin restores the memberships of an inbox from a snapshot. Call orderRooms after all.
func (s *Store) rejoin(in *entry, rooms []snapshotRoom) {
	for _, saved := range rooms {
		rs := s.roomShard(saved.Name)
		r := rs.rooms.Get(saved.Name)
		if r == nil {
			r = &room{name: saved.Name}
			rs.rooms.Put(saved.Name, r)
		}
		m := &membership{room: r, in: in, joined: saved.Joined, behind: saved.Behind}
		r.members = append(r.members, m)
		in.inRooms().all = append(in.rooms.all, m)
		in.rooms.behind = in.rooms.behind || m.behind
		s.joins.Store(max(s.joins.Load(), saved.Joined))
	}
}

// orderRooms orders the members of every room by when they joined.
func (s *Store) orderRooms() {
	for i := range s.rooms {
		for _, r := range s.rooms[i].rooms.All() {
			slices.SortFunc(r.members, func(a, b *membership) int { return cmp.Compare(a.joined, b.joined) })
		}
	}
}

// expiredBefore reports to the rooms of an inbox that it expired before the snapshot was
// loaded.
func (s *Store) expiredBefore(id string, rooms []snapshotRoom) {
	for _, saved := range rooms {
		rs := s.roomShard(saved.Name)
		rs.Lock()
		if r := rs.rooms.Get(saved.Name); r != nil {
			s.deliverLocked(r, inbox.Event{Room: saved.Name, Kind: inbox.RoomExpired, Peer: id}, nil)
		}
		rs.Unlock()
	}
}
