package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"

	"inbox"
)

// RoomName returns a name for [Client.Join] that only those who know the secret can derive:
// a hash of both. The SDK for browsers derives the same name.
func RoomName(secret, name string) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(len(secret)) + ":" + secret + name))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A Room is a membership of this Client in a room. Its methods are safe for concurrent use.
//
// A membership lasts as long as the inbox, which lives while the Client receives. Iterate
// over [Room.Changes], or receive messages, to stay in. If the inbox has ended in between,
// the Client joins again by itself.
type Room struct {
	c    *Client
	name string

	mu      sync.Mutex    // guards the fields below
	changed chan struct{} // closed and replaced whenever a field below changes
	members []member      // in the order in which they joined
	joins   uint64        // number of joins seen so far
	ended   error         // why the membership ended
}

// member is a peer in a room. Two stays of the same peer have different numbers.
type member struct {
	id   string
	stay uint64
}

// A Change is a peer that joined or left a room.
type Change struct {
	Peer   string // its id
	Joined bool   // false if it left, closed its inbox or expired
}

// ErrLeft is returned by [Room.Changes] after [Room.Leave].
var ErrLeft = errors.New("client: left the room")

// Join makes this peer a member of a room. The name follows the rules for ids: see
// [inbox.CheckRoom]. Everyone who knows the name can join; use [RoomName] to keep strangers
// out. Joining a room again returns another Room for the same membership.
//
// Errors: those of requests, such as an [*Error] with the code room-full, and [*RetryError].
func (c *Client) Join(ctx context.Context, name string) (*Room, error) {
	if err := inbox.CheckRoom(name); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	r := &Room{c: c, name: name, changed: make(chan struct{})}
	c.rooms.add(r) // before the request, so that no event is missed
	err := c.persist(ctx, false, r.join)
	if err != nil {
		c.rooms.remove(r)
		return nil, err
	}
	return r, nil
}

// Name returns the name of the room.
func (r *Room) Name() string { return r.name }

// Members returns the ids of the members, including this peer, in the order in which they
// joined.
func (r *Room) Members() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]string, len(r.members))
	for i, m := range r.members {
		ids[i] = m.id
	}
	return ids
}

// Changes returns an iterator over the other members. It yields a Change for each current
// member first, and then one whenever a peer joins or leaves. A peer that leaves and comes
// back yields both, unless it left before the iterator reported it.
//
// The iterator receives while it runs, so it keeps the membership alive. It takes no
// messages: receive those in another goroutine, since changes may wait behind messages that
// were not received.
//
// The iterator ends when the loop breaks or with an error: that of ctx, [ErrLeft], or the
// one for which receiving or joining again failed for good.
func (r *Room) Changes(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		r.c.receiver.join()
		defer r.c.receiver.part(0)
		var seen []member
		for {
			changes, now, changed, err := r.since(seen)
			for _, change := range changes {
				if !yield(change, nil) {
					return
				}
			}
			seen = now
			if err == nil {
				err = ctx.Err()
			}
			received, ended := r.c.receiver.end()
			if err == nil {
				err = ended
			}
			if err != nil {
				yield(Change{}, err)
				return
			}
			select {
			case <-changed:
			case <-received:
			case <-ctx.Done():
			}
		}
	}
}

// Leave ends the membership. Changes then yields [ErrLeft].
func (r *Room) Leave(ctx context.Context) error {
	r.c.rooms.remove(r)
	r.end(ErrLeft)
	return r.c.persist(ctx, false, func(ctx context.Context) error {
		done, err := r.c.rooms.turns.enter(ctx, r.name)
		if err != nil {
			return err
		}
		defer done()
		if len(r.c.rooms.named(r.name)) > 0 {
			return nil // another Room stands for the same membership
		}
		_, err = r.c.whileOpen(func() (answer, error) {
			return r.c.do(ctx, request{method: http.MethodDelete, query: r.query(), success: isDone})
		})
		return err
	})
}

func (r *Room) query() string { return "room=" + url.QueryEscape(r.name) }

// join makes one attempt to join, and takes over the members in the response. It does nothing
// if the room was left meanwhile.
func (r *Room) join(ctx context.Context) error {
	done, err := r.c.rooms.turns.enter(ctx, r.name)
	if err != nil {
		return err
	}
	defer done()
	if !slices.Contains(r.c.rooms.named(r.name), r) {
		return nil
	}
	a, err := r.c.whileOpen(func() (answer, error) {
		return r.c.do(ctx, request{method: http.MethodPut, query: r.query(), json: true, success: isMembers})
	})
	if err != nil {
		return err
	}
	ids, _ := parseMembers(a.body)
	r.set(ids)
	return nil
}

// isMembers recognizes the response by its field, since other APIs also respond with JSON.
func isMembers(a answer) bool {
	_, ok := parseMembers(a.body)
	return a.status == http.StatusOK && mediaType(a.header) == "application/json" && ok
}

func parseMembers(body []byte) (ids []string, ok bool) {
	var said struct {
		Members *[]string `json:"members"`
	}
	if json.Unmarshal(body, &said) != nil || said.Members == nil {
		return nil, false
	}
	return *said.Members, true
}

// set replaces the members. Those that stay keep their numbers.
func (r *Room) set(ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	members := make([]member, 0, len(ids))
	for _, id := range ids {
		if i := r.indexLocked(id); i >= 0 {
			members = append(members, r.members[i])
		} else {
			r.joins++
			members = append(members, member{id, r.joins})
		}
	}
	r.members = members
	r.notifyLocked()
}

// event applies an event to the members. Events that the response to a join has included
// already change nothing in the end: the last one about a peer is right.
func (r *Room) event(e inbox.Event) {
	if e.Kind == inbox.RoomMembers {
		r.set(e.Members)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.indexLocked(e.Peer)
	switch e.Kind {
	case inbox.RoomJoined:
		if i < 0 {
			r.joins++
			r.members = append(slices.Clip(r.members), member{e.Peer, r.joins})
		}
	case inbox.RoomLeft, inbox.RoomExpired:
		if i >= 0 {
			r.members = slices.Delete(slices.Clone(r.members), i, i+1)
		}
	}
	r.notifyLocked()
}

func (r *Room) indexLocked(id string) int {
	return slices.IndexFunc(r.members, func(m member) bool { return m.id == id })
}

func (r *Room) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ended = err
	}
	r.notifyLocked()
}

func (r *Room) notifyLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// since returns the changes since the members were seen, the members now, and a channel that
// is closed at the next change.
func (r *Room) since(seen []member) (changes []Change, now []member, changed <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range seen {
		if !slices.Contains(r.members, m) {
			changes = append(changes, Change{Peer: m.id})
		}
	}
	for _, m := range r.members {
		if m.id == r.c.id {
			continue
		}
		now = append(now, m)
		if !slices.Contains(seen, m) {
			changes = append(changes, Change{Peer: m.id, Joined: true})
		}
	}
	return changes, now, r.changed, r.ended
}

// rooms are the memberships of a Client.
type rooms struct {
	// turns order the requests for one room, so that one to join never arrives after one to
	// leave.
	turns lanes

	mu  sync.Mutex // guards all
	all []*Room
}

func (rs *rooms) add(r *Room) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.all = append(rs.all, r)
}

func (rs *rooms) remove(r *Room) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.all = slices.DeleteFunc(rs.all, func(other *Room) bool { return other == r })
}

// named returns the rooms with that name, or all if it is empty.
func (rs *rooms) named(name string) (found []*Room) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.all {
		if name == "" || r.name == name {
			found = append(found, r)
		}
	}
	return found
}

// event passes an event on. Events of rooms that were left, or that another program has
// joined with this inbox, have no taker.
func (rs *rooms) event(e inbox.Event) {
	if e.Room == "" {
		return
	}
	for _, r := range rs.named(e.Room) {
		r.event(e)
	}
}

// rejoin joins all rooms again after a connection was lost, since the inbox may have ended
// meanwhile. It returns a temporary error; any other ends its room.
func (rs *rooms) rejoin(ctx context.Context) error {
	for _, r := range rs.named("") {
		err := r.join(ctx)
		if err != nil && (temporary(err) || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			rs.remove(r)
			r.end(err)
		}
	}
	return nil
}
