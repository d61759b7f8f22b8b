// Package guard bounds how many wrong passwords one address can try. It stands between
// the protocols and the store, which bounds those of all addresses at one inbox.
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

// Config says how many wrong passwords an address can try. A rate of 0 is no limit.
type Config struct {
	Address limit.Rate // at all inboxes
	Inbox   limit.Rate // at one

	Refusals *meter.Refusals // of these limits, and of the store's; not counted
}

// How many addresses that try wrong passwords the server remembers, and how many pairs of
// an address and an id: 16 bytes each.
const (
	addresses = 1 << 12
	pairs     = 7 << 10
)

// Store is an [inbox.Store] that lets an address with too many wrong passwords try no
// more for a while: it fails with [problem.RateLimited] and has not looked at the
// password then. It is safe for concurrent use.
type Store struct {
	inbox.Store
	tables   [2]*limit.Table // of addresses, and of pairs; nil without a limit
	refusals *meter.Refusals

	start   time.Time
	refills time.Duration // the longest that a bucket that owes nothing takes to be full again
	counts  atomic.Int64  // until then, since start, a wrong password may count
}

// New guards a store.
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

// TableBytes returns how much memory the tables take, whoever comes.
func (g *Store) TableBytes() int { return g.tables[0].Bytes() + g.tables[1].Bytes() }

// try is an attempt of a peer to be let in.
type try struct {
	store *Store
	peer  inbox.Peer
	keys  [2]limit.Key
	taken [2]bool // counted as a wrong password, until it is known to be none
}

// try begins an attempt. A peer that was let in before makes none.
//
// While no wrong password counts against an address, attempts at the same time do not
// count either: they are those of many clients behind one address. Otherwise each counts
// from its beginning, so that no more can be tried at the same time than one by one.
func (g *Store) try(p inbox.Peer) (t try, err error) {
	if p.Client == nil || p.Admitted {
		return t, nil
	}
	t = try{store: g, peer: p}
	if int64(time.Since(g.start)) > g.counts.Load() {
		return t, nil // nobody has tried a wrong one lately
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
	tooMany      = problem.RateLimited.With("There were too many wrong passwords from this address.")
	tooManyAtOne = problem.RateLimited.With("There were too many wrong passwords for this inbox.")
)

// key returns the key of table i for an attempt.
func (t *try) key(i int) limit.Key {
	if i == 0 {
		return t.store.tables[i].Key(*t.peer.Client)
	}
	return t.store.tables[i].KeyOf(*t.peer.Client, t.peer.ID)
}

// giveBack takes back what was counted.
func (t *try) giveBack() {
	for i, taken := range t.taken {
		if taken {
			t.store.tables[i].Add(t.keys[i], 0, -1)
		}
	}
}

// end takes what the store answers, and says how long to wait if that is too many.
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

// countFor notes that a wrong password counts for so long from now on.
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
func (g *Store) Close(ctx context.Context, p inbox.Peer, life uint64) (err error) {
	t, err := g.try(p)
	if err != nil {
		return err
	}
	err = g.Store.Close(ctx, p, life)
	err = t.end(err)
	return err
}
