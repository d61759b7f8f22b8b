package storetest

import (
	"net/netip"
	"slices"
	"time"

	"inbox"
)

// A model is a reference implementation of a store: single-threaded, in plain maps, with
// no regard for speed. It implements the comments of inbox.Store.
//
// Its lives are numbered 1, 2, 3, … in the order in which they begin.
type model struct {
	limits  inbox.Limits
	inboxes map[string]*modelInbox
	lives   uint64
}

type modelInbox struct {
	owner    inbox.Secret
	expires  time.Time
	life     uint64
	last     uint64 // the latest sequence number
	messages []inbox.Message
	keys     []modelKey // oldest first
	receiver *modelReceiver
	known    []netip.Addr // addresses of the owner, latest first
	guesses  int          // number of wrong secrets; the model never forgets them
}

type modelKey struct{ from, key, body string }

type modelReceiver struct {
	ended error
	woken bool // since the test last checked
	knows bool // woken since it last looked, so further wakes are not required
}

func (r *modelReceiver) end(why error) { r.ended, r.woken = why, true }

func (r *modelReceiver) wake() {
	if !r.knows {
		r.woken, r.knows = true, true
	}
}

func newModel(l inbox.Limits) *model {
	return &model{limits: l.WithDefaults(), inboxes: map[string]*modelInbox{}}
}

// expire removes expired inboxes. Every operation begins with it.
func (m *model) expire(now time.Time) {
	for id, in := range m.inboxes {
		if !now.Before(in.expires) {
			delete(m.inboxes, id)
		}
	}
}

// open returns p's inbox and opens it if it does not exist.
func (m *model) open(p inbox.Peer, life uint64, now time.Time) (*modelInbox, error) {
	if in := m.inboxes[p.ID]; in != nil {
		return in, in.admit(m.limits, p, life)
	}
	if len(m.inboxes) >= m.limits.Inboxes {
		return nil, inbox.ErrServerFull
	}
	m.lives++
	in := &modelInbox{owner: p.Secret, life: m.lives, expires: now.Add(m.limits.TTL)}
	m.inboxes[p.ID] = in
	if p.Client != nil {
		in.known = []netip.Addr{*p.Client}
	}
	return in, nil
}

// admit checks p's secret and counts a wrong one. life is the life of the cursor that p
// presented, or 0.
func (in *modelInbox) admit(l inbox.Limits, p inbox.Peer, life uint64) error {
	right := in.owner == p.Secret
	exempt := p.Client == nil || p.Admitted
	known := exempt || slices.Contains(in.known, *p.Client)
	switch {
	case !known && life != in.life && l.Guesses.Burst > 0 && in.guesses >= l.Guesses.Burst:
		return inbox.ErrRateLimited
	case !right && !exempt:
		in.guesses++
		return inbox.ErrUnauthorized
	case !right:
		return inbox.ErrUnauthorized
	case !known:
		in.known = append([]netip.Addr{*p.Client}, in.known[:min(len(in.known), inbox.KnownAddresses-1)]...)
	}
	return nil
}

// hasRoom reports whether an inbox accepts a body of the given size from a sender.
func (m *model) hasRoom(in *modelInbox, owner, sender string, size int) bool {
	alone, bytes := len(in.messages) > 0 && sender != owner, size
	for _, m := range in.messages {
		bytes += len(m.Body)
		alone = alone && m.From == sender
	}
	messages, most := m.limits.Messages, m.limits.Bytes
	if alone {
		messages, most = (messages*m.limits.Share+99)/100, (most*m.limits.Share+99)/100
	}
	return len(in.messages) < messages && bytes <= most
}

func (m *model) send(from inbox.Peer, to string, d inbox.Draft, now time.Time) (replayed bool, err error) {
	m.expire(now)
	if _, err := m.open(from, 0, now); err != nil {
		return false, err
	}
	in := m.inboxes[to]
	if in == nil {
		return false, inbox.ErrNoInbox
	}
	key := modelKey{from.ID, d.Key, string(d.Body)}
	if d.Key != "" && slices.Contains(in.keys, key) {
		return true, nil
	}
	if !m.hasRoom(in, to, from.ID, len(d.Body)) {
		return false, inbox.ErrFull
	}
	if d.Key != "" {
		in.keys = append(in.keys, key)
		in.keys = in.keys[max(0, len(in.keys)-inbox.KeysRemembered):]
	}
	in.last++
	in.messages = append(in.messages, inbox.Message{
		Cursor: inbox.Cursor{Life: in.life, Seq: in.last},
		From:   from.ID,
		Time:   now,
		Body:   d.Body,
	})
	if in.receiver != nil {
		in.receiver.wake()
	}
	return false, nil
}

// receive models Look if attach is set, otherwise Acknowledge.
func (m *model) receive(p inbox.Peer, after inbox.Cursor, limit int, r *modelReceiver, attach bool, now time.Time) (inbox.Batch, error) {
	m.expire(now)
	if r != nil && r.ended != nil {
		return inbox.Batch{}, r.ended
	}
	in, err := m.open(p, after.Life, now)
	if err != nil {
		return inbox.Batch{}, err
	}
	b := inbox.Batch{TTL: m.limits.TTL}
	if b.Reset, err = in.acknowledge(after); err != nil {
		return inbox.Batch{}, err
	}
	if attach && r != nil && r != in.receiver {
		if in.receiver != nil {
			in.receiver.end(inbox.ErrReplaced)
		}
		in.receiver = r
	}
	if attach && r != nil {
		r.knows = false
	}
	in.expires = now.Add(m.limits.TTL)

	b.Messages = in.messages[:min(limit, len(in.messages))]
	b.Cursor = inbox.Cursor{Life: in.life, Seq: in.last - uint64(len(in.messages)) + uint64(len(b.Messages))}
	return b, nil
}

// acknowledge removes the messages up to and including upTo.
func (in *modelInbox) acknowledge(upTo inbox.Cursor) (reset bool, err error) {
	switch {
	case upTo == inbox.Cursor{}:
	case upTo.Life != in.life:
		return true, nil
	case upTo.Seq > in.last:
		return false, inbox.ErrBadCursor
	default:
		for len(in.messages) > 0 && in.messages[0].Cursor.Seq <= upTo.Seq {
			in.messages = in.messages[1:]
		}
	}
	return false, nil
}

func (m *model) leave(p inbox.Peer, upTo inbox.Cursor, r *modelReceiver, now time.Time) error {
	m.expire(now)
	in := m.inboxes[p.ID]
	if in == nil || in.receiver != r {
		return nil
	}
	if in.owner != p.Secret {
		return inbox.ErrUnauthorized
	}
	if _, err := in.acknowledge(upTo); err != nil {
		return err
	}
	in.receiver = nil
	in.expires = now.Add(m.limits.TTL)
	return nil
}

func (m *model) close(p inbox.Peer, now time.Time) error {
	m.expire(now)
	in := m.inboxes[p.ID]
	if in == nil {
		return nil
	}
	if err := in.admit(m.limits, p, 0); err != nil {
		return err
	}
	if in.receiver != nil {
		in.receiver.end(inbox.ErrClosed)
	}
	delete(m.inboxes, p.ID)
	return nil
}
