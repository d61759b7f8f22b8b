// Package memstore implements [inbox.Store] in the memory of one process. Inboxes do not
// survive the process unless [Store.Save] writes them to a snapshot file, from which
// [Store.Load] restores them.
//
// Inboxes are spread over shards, each with its own lock. Everything the store keeps
// counts against [inbox.Limits.Memory], so a full store refuses sends instead of
// exhausting the machine. See docs/stores.md for the design.
package memstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
	"time"

	"inbox"
	"inbox/internal/meter"
)

// shardCount is far above the number of cores, so that two requests rarely contend for a
// lock, and small enough to visit every shard once a second.
const shardCount = 128

// Store is an [inbox.Store] in memory. Create one with [New] and start [Store.Run]. It is
// safe for concurrent use.
//
// Each inbox belongs to one of many shards, and the shard's lock guards everything in it.
// There are no locks for single inboxes and no lock for the whole store.
type Store struct {
	// Delivery, if not nil, records the time from each message's send to its
	// acknowledgement. Set it before the first use.
	Delivery *meter.Histogram

	limits  inbox.Limits
	alone   struct{ messages, bytes int } // see [inbox.Limits.Alone]
	guesses inbox.Guesses                 // with Every in guessUnits
	seed    maphash.Seed
	start   time.Time // origin of all expiry times, on the monotonic clock
	shards  [shardCount]shard
	rooms   [roomShards]roomShard
	left    leftovers
	joins   atomic.Uint64
	codes   codes

	inboxes atomic.Int64 // in all shards, including expired ones not yet removed
	memory  atomic.Int64 // bytes in use, as cost.go counts them
}

var _ inbox.Store = (*Store)(nil)

// New returns an empty store with the given limits.
func New(l inbox.Limits) *Store {
	s := &Store{limits: l.WithDefaults(), seed: maphash.MakeSeed(), start: time.Now()}
	s.alone.messages, s.alone.bytes = s.limits.Alone()
	s.guesses = inUnits(s.limits.Guesses)
	for i := range s.shards {
		s.shards[i].store = s
	}
	return s
}

// Run removes expired inboxes once a second until ctx ends. Without Run, expired inboxes
// behave as if they were gone but keep their memory.
func (s *Store) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.removeExpired()
		case <-ctx.Done():
			return
		}
	}
}

// Usage returns the number of inboxes and the bytes they take with all their contents, as
// counted against the limits.
func (s *Store) Usage() (inboxes, memory int64) {
	return s.inboxes.Load(), s.memory.Load()
}

// Held returns the number of messages and the total size of their bodies. It is cheap: it
// takes each shard's lock once and visits no inbox.
func (s *Store) Held() (messages, bytes int64) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.Lock()
		messages, bytes = messages+int64(sh.messages), bytes+int64(sh.bytes)
		sh.Unlock()
	}
	return messages, bytes
}

// Send implements [inbox.Store].
func (s *Store) Send(_ context.Context, from inbox.Peer, to string, d inbox.Draft) (replayed bool, err error) {
	replayed, err = s.send(from, to, d)
	if err == inbox.ErrServerFull {
		s.removeExpired() // expired inboxes may be what fills the server
		replayed, err = s.send(from, to, d)
	}
	return replayed, err
}

func (s *Store) send(from inbox.Peer, to string, d inbox.Draft) (replayed bool, err error) {
	now := s.now()
	sender, err := s.openSender(from, now)
	if err != nil {
		return false, err
	}
	var digest digest
	if d.Key != "" {
		digest = d.Digest(from.ID)
	}
	m := inbox.Message{From: sender, Time: time.Now().UTC(), Body: trimmed(d.Body)}
	cost := costOf(&m)

	sh := s.shard(to)
	sh.Lock()
	in := sh.findLocked(to, now)
	held, bytes := in.held()
	switch {
	case in == nil:
		err = inbox.ErrNoInbox
	case d.Key != "" && in.keys.has(digest):
		replayed = true
	case held >= s.limits.Messages || bytes+len(d.Body) > s.limits.Bytes:
		err = inbox.ErrFull
	case in.isOf(sender) && (held >= s.alone.messages || bytes+len(d.Body) > s.alone.bytes):
		err = inbox.ErrShare
	default:
		more := cost
		if d.Key != "" && !in.keys.full() {
			more += costOfKeys(in.keys.len()+1) - costOfKeys(in.keys.len())
		}
		switch {
		case !s.hold(in, more):
			err = inbox.ErrFull
		case !s.reserveMemory(more):
			s.hold(in, -more)
			err = inbox.ErrServerFull
		}
	}
	if err != nil || replayed {
		sh.Unlock()
		return replayed, err
	}
	if d.Key != "" {
		in.keys = in.keys.remember(digest)
	}
	in.count(sender)
	sh.addLocked(in, m, cost)
	waker := in.waker
	sh.Unlock()
	if waker != nil {
		waker.Wake()
	}
	return false, nil
}

// openSender opens the sender's inbox if it does not exist. It returns the entry's own
// copy of the id, which all messages of this sender share.
func (s *Store) openSender(from inbox.Peer, now time.Duration) (string, error) {
	sh := s.shard(from.ID)
	sh.Lock()
	defer sh.Unlock()
	in, err := sh.openLocked(from, 0, now)
	if err != nil {
		return "", err
	}
	return in.id, nil
}

// Look implements [inbox.Store].
func (s *Store) Look(_ context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	return s.receive(p, after, limit, w, true)
}

// Acknowledge implements [inbox.Store].
func (s *Store) Acknowledge(_ context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) (inbox.Batch, error) {
	return s.receive(p, upTo, 0, w, false)
}

// receive implements Look and Acknowledge. If the server is full, it removes expired
// inboxes and tries once more.
func (s *Store) receive(p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker, attach bool) (inbox.Batch, error) {
	defer s.settle()
	b, err := s.tryReceive(p, after, limit, w, attach)
	if err == inbox.ErrServerFull {
		s.removeExpired()
		b, err = s.tryReceive(p, after, limit, w, attach)
	}
	return b, err
}

func (s *Store) tryReceive(p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker, attach bool) (inbox.Batch, error) {
	sh := s.shard(p.ID)
	sh.Lock()
	defer sh.Unlock()
	// Check this under the lock, because that is where receivers are ended.
	if w != nil && w.Err() != nil {
		return inbox.Batch{}, w.Err()
	}
	now := s.now()
	in, err := sh.openLocked(p, after.Life, now)
	if err != nil {
		return inbox.Batch{}, err
	}
	reset, err := sh.acknowledgeLocked(in, after)
	if err != nil {
		return inbox.Batch{}, err
	}
	if attach && w != nil && in.waker != w {
		if in.waker != nil {
			in.waker.End(inbox.ErrReplaced)
		}
		in.waker = w
	}
	sh.touchLocked(in, now)
	s.caughtUpLocked(in)

	b := inbox.Batch{Reset: reset, TTL: s.limits.TTL}
	n := min(limit, len(in.messages))
	if n > 0 && in.hides() {
		n, b.Taken = 0, in.taken.miss()
	}
	b.Messages = in.messages[:n:n]
	b.Cursor = inbox.Cursor{Life: in.life, Seq: in.last - uint64(len(in.messages)-n)}
	return b, nil
}

// Leave implements [inbox.Store].
func (s *Store) Leave(_ context.Context, p inbox.Peer, upTo inbox.Cursor, w *inbox.Waker) error {
	sh := s.shard(p.ID)
	sh.Lock()
	defer sh.Unlock()
	now := s.now()
	in := sh.findLocked(p.ID, now)
	if in == nil || w == nil || in.waker != w {
		return nil
	}
	if !in.secret.Equal(p.Secret) {
		return inbox.ErrUnauthorized
	}
	if _, err := sh.acknowledgeLocked(in, upTo); err != nil {
		return err
	}
	in.waker = nil
	sh.touchLocked(in, now)
	return nil
}

// Close implements [inbox.Store].
func (s *Store) Close(_ context.Context, p inbox.Peer, life uint64) (notified int, err error) {
	defer s.settle()
	in, err := s.close(p, life)
	if in != nil {
		notified = s.depart(in, inbox.RoomLeft)
	}
	return notified, err
}

// close removes p's inbox and returns it, or nil if there was none of this life.
func (s *Store) close(p inbox.Peer, life uint64) (*entry, error) {
	sh := s.shard(p.ID)
	sh.Lock()
	defer sh.Unlock()
	in := sh.findLocked(p.ID, s.now())
	if in == nil {
		return nil, nil
	}
	if err := s.admitLocked(in, p, life, s.now()); err != nil {
		return nil, err
	}
	if life != 0 && life != in.life {
		return nil, nil
	}
	if in.waker != nil {
		in.waker.End(inbox.ErrClosed)
	}
	sh.removeLocked(in)
	return in, nil
}

// now returns the time since the store was created. It is monotonic, and a third of the
// size of a time.Time.
func (s *Store) now() time.Duration { return time.Since(s.start) }

func (s *Store) shard(id string) *shard {
	return &s.shards[maphash.String(s.seed, id)%shardCount]
}

// removeExpired removes every expired inbox. Its cost is proportional to the number of
// shards and of inboxes removed.
func (s *Store) removeExpired() {
	for i := range s.shards {
		for s.shards[i].removeExpired(s.now()) {
		}
	}
	s.removeExpiredCodes()
	s.settle()
}

func (s *Store) reserveInbox() bool {
	if s.inboxes.Add(1) > int64(s.limits.Inboxes) {
		s.inboxes.Add(-1)
		return false
	}
	return true
}

// hold adds n bytes to the account of an inbox. It reports false if the account has no
// room for them.
func (s *Store) hold(in *entry, n int64) bool {
	return in.account == 0 || s.limits.Quota.Keep(in.account, n)
}

func (s *Store) reserveMemory(cost int64) bool {
	if s.memory.Add(cost) > s.limits.Memory {
		s.memory.Add(-cost)
		return false
	}
	return true
}

// newLife returns a random number other than zero that distinguishes the lives of an
// inbox.
func newLife() uint64 {
	for {
		var b [8]byte
		rand.Read(b[:])
		if life := binary.BigEndian.Uint64(b[:]); life != 0 {
			return life
		}
	}
}
