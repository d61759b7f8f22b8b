// Package guard limits how many wrong passwords each address can try. It wraps a store
// and complements the store's own limit, which bounds the wrong passwords of all
// addresses at one inbox.
package guard

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"inbox"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/internal/problem"
)

// Config sets how many wrong passwords an address can try. A zero rate sets no limit.
type Config struct {
	Address limit.Rate // at all inboxes
	Inbox   limit.Rate // at one inbox

	Refusals *meter.Refusals // counts refusals of these limits and the store's; may be nil
}

// Bounds on what the server remembers: addresses that tried wrong passwords, and pairs of
// an address and an id. Each entry takes 16 bytes.
const (
	addresses = 1 << 12
	pairs     = 7 << 10
)

// Store is an [inbox.Store] that fails with [problem.RateLimited] for addresses that have
// tried too many wrong passwords, without checking their password. It is safe for
// concurrent use.
type Store struct {
	inbox.Store
	tables   [2]*limit.Table // by address, and by address and id; nil without a limit
	refusals *meter.Refusals

	start   time.Time
	refills time.Duration // the longest time that any bucket takes to refill from empty
	counts  atomic.Int64  // time since start until which wrong passwords may count against someone
}

// New wraps a store.
func New(s inbox.Store, c Config) *Store {
	g := &Store{Store: s, refusals: c.Refusals, start: time.Now()}
	for _, r := range []limit.Rate{c.Address, c.Inbox} {
		if !r.Off() {
			g.refills = max(g.refills, time.Duration(float64(r.Burst)/r.PerSecond*float64(time.Second)))
		}
	}
	if !c.Address.Off() {
		g.tables[0] = limit.NewTable(addresses, c.Address)
	}
	if !c.Inbox.Off() {
		g.tables[1] = limit.NewTable(pairs, c.Inbox)
	}
	return g
}

// TableBytes returns the memory that the tables take, in bytes. It is constant.
func (g *Store) TableBytes() int { return g.tables[0].Bytes() + g.tables[1].Bytes() }

// A try is one attempt of a peer to authenticate.
type try struct {
	store *Store
	peer  inbox.Peer
	keys  [2]limit.Key
	taken [2]bool // whether the attempt is provisionally counted as a wrong password
}

// try begins an attempt. Peers that were admitted before are exempt.
//
// While no wrong password counts against an address, concurrent attempts are not counted
// in advance: they may be from many clients behind one address. Once one does, each
// attempt counts from its beginning, so that trying concurrently gains nothing.
func (g *Store) try(p inbox.Peer) (t try, err error) {
	if p.Client == nil || p.Admitted {
		return t, nil
	}
	t = try{store: g, peer: p}
	if int64(time.Since(g.start)) > g.counts.Load() {
		return t, nil // no wrong password counts at the moment
	}
	for i, table := range g.tables {
		t.keys[i] = t.key(i)
		if table.IsFull(t.keys[i], 0) {
			continue
		}
		if wait := table.Take(t.keys[i], 0, 1); wait > 0 {
			t.giveBack()
			g.refusals.Add(meter.AddressPasswords, *p.Client)
			return try{}, tooMany.After(wait)
		}
		t.taken[i] = true
	}
	return t, nil
}

var (
	tooMany      = problem.RateLimited.With("Too many wrong passwords from this address.")
	tooManyAtOne = problem.RateLimited.With("Too many wrong passwords for this inbox.")
)

// key returns the key of the attempt in table i.
func (t *try) key(i int) limit.Key {
	if i == 0 {
		return t.store.tables[i].Key(*t.peer.Client)
	}
	return t.store.tables[i].KeyOf(*t.peer.Client, t.peer.ID)
}

// giveBack reverts what was counted.
func (t *try) giveBack() {
	for i, taken := range t.taken {
		if taken {
			t.store.tables[i].Add(t.keys[i], 0, -1)
		}
	}
}

// end completes the attempt with the store's error. It returns the error for the client,
// with the time to wait if there were too many wrong passwords.
func (t *try) end(err error) error {
	switch {
	case t.store == nil:
	case errors.Is(err, inbox.ErrUnauthorized):
		full := t.store.refills
		for i, taken := range t.taken {
			if !taken {
				full = max(full, t.store.tables[i].Add(t.key(i), 0, 1))
			}
		}
		t.store.countFor(full)
	default:
		t.giveBack()
		if errors.Is(err, inbox.ErrRateLimited) {
			t.store.refusals.Add(meter.IDPasswords, *t.peer.Client)
			return tooManyAtOne.After(time.Second + rand.N(4*time.Second))
		}
	}
	return err
}

// countFor records that a wrong password counts against someone until d from now.
func (g *Store) countFor(d time.Duration) {
	until := int64(time.Since(g.start) + d)
	for old := g.counts.Load(); old < until && !g.counts.CompareAndSwap(old, until); {
		old = g.counts.Load()
	}
}

// Send implements [inbox.Store].
func (g *Store) Send(ctx context.Context, from inbox.Peer, to string, d inbox.Draft) (replayed bool, err error) {
	t, err := g.try(from)
	if err != nil {
		return false, err
	}
	replayed, err = g.Store.Send(ctx, from, to, d)
	err = t.end(err)
	return replayed, err
}

// Look implements [inbox.Store].
func (g *Store) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, most int, w *inbox.Waker) (b inbox.Batch, err error) {
	t, err := g.try(p)
	if err != nil {
		return inbox.Batch{}, err
	}
	b, err = g.Store.Look(ctx, p, after, most, w)
	err = t.end(err)
	return b, err
}

// Acknowledge implements [inbox.Store].
func (g *Store) Acknowledge(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) (b inbox.Batch, err error) {
	t, err := g.try(p)
	if err != nil {
		return inbox.Batch{}, err
	}
	b, err = g.Store.Acknowledge(ctx, p, upTo, w)
	err = t.end(err)
	return b, err
}

// Close implements [inbox.Store].
func (g *Store) Close(ctx context.Context, p inbox.Peer, life uint64) (notified int, err error) {
	t, err := g.try(p)
	if err != nil {
		return 0, err
	}
	notified, err = g.Store.Close(ctx, p, life)
	err = t.end(err)
	return notified, err
}

// Join implements [inbox.Store].
func (g *Store) Join(ctx context.Context, p inbox.Peer, room string) (members []string, err error) {
	t, err := g.try(p)
	if err != nil {
		return nil, err
	}
	members, err = g.Store.Join(ctx, p, room)
	err = t.end(err)
	return members, err
}

// LeaveRoom implements [inbox.Store].
func (g *Store) LeaveRoom(ctx context.Context, p inbox.Peer, room string) (left int, err error) {
	t, err := g.try(p)
	if err != nil {
		return 0, err
	}
	left, err = g.Store.LeaveRoom(ctx, p, room)
	err = t.end(err)
	return left, err
}

// Invite implements [inbox.Store].
func (g *Store) Invite(ctx context.Context, p inbox.Peer, room string) (code string, err error) {
	t, err := g.try(p)
	if err != nil {
		return "", err
	}
	code, err = g.Store.Invite(ctx, p, room)
	err = t.end(err)
	return code, err
}
