package memstore

import (
	"maps"
	"slices"
	"sync"
	"time"

	"inbox"
)

// entry is one inbox. Its shard's lock guards it. A million of them wait in
// memory, so each field is paid for a million times.
type entry struct {
	id       string
	secret   inbox.Secret
	life     uint64
	last     uint64          // the sequence number given out last
	messages []inbox.Message // oldest first, without gaps: the last one has number last
	waker    *inbox.Waker    // of the last receiver, unless it has left
	keys     *keys           // nil until a sender uses one
	bytes    int             // of the bodies in messages
	dead     int             // acknowledged messages that the slice's array still holds

	expires    time.Duration // on the store's clock
	prev, next *entry        // in the shard's list
}

// acknowledge removes the messages up to and including seq and returns what
// they cost.
func (in *entry) acknowledge(seq uint64) (cost int64) {
	first := in.last - uint64(len(in.messages)) + 1
	if seq < first {
		return 0
	}
	n := int(seq - first + 1)
	for i := range in.messages[:n] {
		size := len(in.messages[i].Body)
		in.bytes -= size
		cost += int64(messageCost + size)
	}
	// The array is never written to where a batch may look at it: it is left
	// behind, at once when empty, else when most of it is dead.
	in.dead += n
	in.messages = in.messages[n:]
	switch {
	case len(in.messages) == 0:
		in.messages, in.dead = nil, 0
	case in.dead >= len(in.messages):
		in.messages, in.dead = slices.Clone(in.messages), 0
	}
	return cost
}

// cost is what an inbox has been counted for.
func (in *entry) cost() int64 {
	return int64(len(in.messages))*messageCost + int64(in.bytes) + int64(in.keys.len())*keyCost
}

// A shard is a part of all inboxes, with a lock of its own.
//
// All inboxes live equally long after they were asked for, so a list in the
// order of asking is also in the order of expiry: the ones to remove are at its
// head, and nobody looks at the rest.
type shard struct {
	sync.Mutex // guards everything below, and each entry
	store      *Store
	inboxes    map[string]*entry
	head, tail *entry // head expires first
	peak       int    // the most inboxes since the map was made
	_          [64]byte
}

// findLocked returns the inbox of that id, or nil.
func (sh *shard) findLocked(id string, now time.Duration) *entry {
	in := sh.inboxes[id]
	if in != nil && in.expires <= now {
		sh.removeLocked(in)
		return nil
	}
	return in
}

// openLocked returns p's inbox, a new one if it has none.
// Errors: ErrUnauthorized, ErrServerFull.
func (sh *shard) openLocked(p inbox.Peer, now time.Duration) (*entry, error) {
	if in := sh.findLocked(p.ID, now); in != nil {
		if !in.secret.Equal(p.Secret) {
			return nil, inbox.ErrUnauthorized
		}
		return in, nil
	}
	if !sh.store.reserveInbox() {
		return nil, inbox.ErrServerFull
	}
	in := &entry{id: p.ID, secret: p.Secret, life: newLife(), expires: now + sh.store.limits.TTL}
	sh.insertLocked(in)
	return in, nil
}

func (sh *shard) insertLocked(in *entry) {
	if sh.inboxes == nil {
		sh.inboxes = make(map[string]*entry)
	}
	sh.inboxes[in.id] = in
	sh.peak = max(sh.peak, len(sh.inboxes))
	sh.appendLocked(in)
}

// touchLocked restarts an expiry.
func (sh *shard) touchLocked(in *entry, now time.Duration) {
	in.expires = now + sh.store.limits.TTL
	sh.unlinkLocked(in)
	sh.appendLocked(in)
}

// removeLocked ends the life of an inbox.
func (sh *shard) removeLocked(in *entry) {
	sh.unlinkLocked(in)
	delete(sh.inboxes, in.id)
	sh.store.inboxes.Add(-1)
	sh.store.memory.Add(-in.cost())
	if in.waker != nil {
		in.waker.Wake() // should one still wait, it opens the next life
	}
	// A map keeps the room of its best days. Copying the quarter that is left
	// is paid for by the three quarters that went.
	if n := len(sh.inboxes); sh.peak >= 64 && n <= sh.peak/4 {
		smaller := make(map[string]*entry, n)
		maps.Copy(smaller, sh.inboxes)
		sh.inboxes, sh.peak = smaller, n
	}
}

// atOnce is how many inboxes are removed under one hold of a lock, so that
// nobody waits until all are gone.
const atOnce = 64

// removeExpired removes at most atOnce inboxes and reports whether there may be
// more.
func (sh *shard) removeExpired(now time.Duration) (more bool) {
	sh.Lock()
	defer sh.Unlock()
	for range atOnce {
		if sh.head == nil || sh.head.expires > now {
			return false
		}
		sh.removeLocked(sh.head)
	}
	return true
}

func (sh *shard) appendLocked(in *entry) {
	in.prev, in.next = sh.tail, nil
	if sh.tail != nil {
		sh.tail.next = in
	} else {
		sh.head = in
	}
	sh.tail = in
}

func (sh *shard) unlinkLocked(in *entry) {
	if in.prev != nil {
		in.prev.next = in.next
	} else {
		sh.head = in.next
	}
	if in.next != nil {
		in.next.prev = in.prev
	} else {
		sh.tail = in.prev
	}
	in.prev, in.next = nil, nil
}
