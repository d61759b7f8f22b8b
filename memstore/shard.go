package memstore

import (
	"math"
	"sync"
	"time"

	"inbox"
	"inbox/internal/shrink"
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
	taken    *taking         // nil, or a pop that is writing
	keys     *keys           // nil until a sender uses one
	bytes    int             // of the bodies in messages
	account  uint64          // that it counts under, see [inbox.Quota]; 0: it does not
	live     int64           // what messages are counted for
	dead     int64           // the same, of acknowledged ones that the slice's array still holds
	run      uint32          // how many messages at the end are of one sender
	guesses  uint32          // when the bucket of wrong secrets is full again: see guessUnit
	known    addresses       // of the owner

	expires    time.Duration // on the store's clock
	prev, next *entry        // in the shard's list
}

// isOf reports whether an inbox holds messages, all of one sender that is not its owner.
func (in *entry) isOf(sender string) bool {
	held := len(in.messages)
	return held > 0 && int64(in.run) >= int64(held) && in.messages[held-1].From == sender && sender != in.id
}

// count counts a message that is about to be appended for its sender.
func (in *entry) count(sender string) {
	held := len(in.messages)
	switch {
	case held == 0 || in.messages[held-1].From != sender:
		in.run = 1
	case in.run < math.MaxUint32:
		in.run++
	}
}

// first is the number of the oldest message, or of the next if there is none.
func (in *entry) first() uint64 { return in.last - uint64(len(in.messages)) + 1 }

// acknowledge removes the messages up to and including seq and returns what is counted
// no longer.
func (in *entry) acknowledge(seq uint64) (freed int64) {
	first := in.first()
	if seq < first {
		return 0
	}
	n := int(seq - first + 1)
	for i := range in.messages[:n] {
		m := &in.messages[i]
		in.bytes -= len(m.Body)
		in.live -= costOf(m)
		in.dead += costOf(m)
	}
	// The array is never written to where a batch may look at it: it is left behind, at
	// once when empty, else when most of what it holds is dead. What it holds counts.
	in.messages = in.messages[n:]
	if in.dead >= in.live {
		in.messages = append([]inbox.Message(nil), in.messages...)
		freed, in.dead = in.dead, 0
	}
	return freed
}

// cost is what an inbox has been counted for.
func (in *entry) cost() int64 {
	return inboxCost + sizeCost(len(in.id)) + in.live + in.dead + costOfKeys(in.keys.len())
}

// A shard is a part of all inboxes, with a lock of its own.
//
// All inboxes live equally long after they were asked for, so a list in the
// order of asking is also in the order of expiry: the ones to remove are at its
// head, and nobody looks at the rest.
type shard struct {
	sync.Mutex // guards everything below, and each entry
	store      *Store
	inboxes    shrink.Map[string, *entry]
	head, tail *entry // head expires first
	messages   int    // in all of them
	bytes      int    // of their bodies
	_          [64]byte
}

// findLocked returns the inbox of that id, or nil.
func (sh *shard) findLocked(id string, now time.Duration) *entry {
	in := sh.inboxes.Get(id)
	if in != nil && in.expires <= now {
		sh.removeLocked(in)
		return nil
	}
	return in
}

// openLocked returns p's inbox, a new one if it has none. See admitLocked.
// Errors: ErrUnauthorized, ErrRateLimited, ErrServerFull.
func (sh *shard) openLocked(p inbox.Peer, life uint64, now time.Duration) (*entry, error) {
	if in := sh.findLocked(p.ID, now); in != nil {
		return in, sh.store.admitLocked(in, p, life, now)
	}
	if !sh.store.reserveInbox() {
		return nil, inbox.ErrServerFull
	}
	in := &entry{id: p.ID, secret: p.Secret, life: newLife(), expires: now + sh.store.limits.TTL}
	err := sh.accountLocked(in, p)
	if err == nil && !sh.insertLocked(in) {
		sh.store.hold(in, -in.cost())
		err = inbox.ErrServerFull
	}
	if err != nil {
		sh.store.inboxes.Add(-1)
		return nil, err
	}
	return in, nil
}

// accountLocked notes whose a new inbox is, and counts it.
func (sh *shard) accountLocked(in *entry, p inbox.Peer) (err error) {
	if p.Client == nil {
		return nil
	}
	in.known.add(sh.store.tag(*p.Client))
	if q := sh.store.limits.Quota; q != nil {
		if in.account, err = q.Open(*p.Client); err == nil && !sh.store.hold(in, in.cost()) {
			err = inbox.ErrRateLimited
		}
	}
	return err
}

// insertLocked reports whether there was memory for the inbox.
func (sh *shard) insertLocked(in *entry) bool {
	cost := in.cost()
	if sh.inboxes.Len() == sh.inboxes.Room() {
		cost += roomCost
	}
	if !sh.store.reserveMemory(cost) {
		return false
	}
	sh.inboxes.Put(in.id, in)
	sh.appendLocked(in)
	sh.messages, sh.bytes = sh.messages+len(in.messages), sh.bytes+in.bytes
	return true
}

// acknowledgeLocked removes the messages up to and including upTo. It reports a cursor of
// another life as a reset.
func (sh *shard) acknowledgeLocked(in *entry, upTo inbox.Cursor) (reset bool, err error) {
	if upTo.Life != in.life {
		return upTo.Life != 0, nil
	}
	if upTo.Seq > in.last {
		return false, inbox.ErrBadCursor
	}
	before, bytes := in.messages, in.bytes
	freed := in.acknowledge(upTo.Seq)
	if n := len(before) - len(in.messages); n > 0 {
		sh.messages, sh.bytes = sh.messages-n, sh.bytes+in.bytes-bytes
		sh.store.memory.Add(-freed)
		sh.store.hold(in, -freed)
		if d := sh.store.Delivery; d != nil {
			now := time.Now()
			for i := range before[:n] {
				d.Observe(now.Sub(before[i].Time))
			}
		}
	}
	return false, nil
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
	sh.messages, sh.bytes = sh.messages-len(in.messages), sh.bytes-in.bytes
	room := sh.inboxes.Room()
	sh.inboxes.Delete(in.id)
	sh.store.inboxes.Add(-1)
	sh.store.memory.Add(-in.cost() - roomCost*int64(room-sh.inboxes.Room()))
	sh.store.hold(in, -in.cost())
	in.endTaking()
	if in.waker != nil {
		in.waker.Wake() // should one still wait, it opens the next life
	}
}

// removedPerLock bounds how many inboxes are removed under one hold of a lock, so that
// nobody waits until all are gone.
const removedPerLock = 64

// removeExpired removes at most removedPerLock inboxes and reports whether there may be
// more.
func (sh *shard) removeExpired(now time.Duration) (more bool) {
	sh.Lock()
	defer sh.Unlock()
	for range removedPerLock {
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
