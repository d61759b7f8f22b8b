package memstore

import (
	"math"
	"slices"
	"sync"
	"time"

	"inbox"
	"inbox/internal/shrink"
)

// An entry is one inbox, guarded by its shard's lock. A store may keep a million idle
// inboxes, so every field costs memory a million times.
type entry struct {
	id       string
	secret   inbox.Secret
	life     uint64
	last     uint64          // the latest sequence number
	messages []inbox.Message // oldest first, with consecutive numbers ending at last
	waker    *inbox.Waker    // the last receiver's, unless it has left
	taken    *taking         // the pop in progress, or nil
	rooms    *memberships    // nil until it joins a room
	keys     *keys           // nil until a sender uses a key
	bytes    int             // total size of the bodies in messages
	account  uint64          // see [inbox.Quota]; 0 if the inbox has none
	live     int64           // cost of messages
	dead     int64           // cost of acknowledged messages that the slice's array still references
	run      uint32          // how many of the last messages are from the same sender
	guesses  uint32          // when the bucket of wrong secrets is full again, in guessUnits
	known    addresses       // addresses of the owner

	expires    time.Duration // on the store's clock
	prev, next *entry        // neighbors in the shard's expiry list
}

// isOf reports whether the inbox has messages and all of them are from sender, who is not
// its owner.
func (in *entry) isOf(sender string) bool {
	held := len(in.messages)
	if in.rooms != nil {
		held -= in.rooms.events
	}
	return held > 0 && int64(in.run) >= int64(held) && in.lastSender() == sender && sender != in.id
}

// lastSender returns the sender of the latest message that is not an event, or "".
func (in *entry) lastSender() string {
	for _, m := range slices.Backward(in.messages) {
		if !m.FromServer() {
			return m.From
		}
	}
	return ""
}

// count updates run before a message of sender is appended.
func (in *entry) count(sender string) {
	switch {
	case in.lastSender() != sender:
		in.run = 1
	case in.run < math.MaxUint32:
		in.run++
	}
}

// first returns the number of the oldest message. In an empty inbox it is that of the next
// message.
func (in *entry) first() uint64 { return in.last - uint64(len(in.messages)) + 1 }

// acknowledge removes the messages up to and including seq. It returns the cost that this
// frees.
func (in *entry) acknowledge(seq uint64) (freed int64) {
	first := in.first()
	if seq < first {
		return 0
	}
	n := int(seq - first + 1)
	for i := range in.messages[:n] {
		m := &in.messages[i]
		in.bytes -= len(m.Body)
		if m.FromServer() {
			in.rooms.events--
			in.rooms.bytes -= len(m.Body)
		}
		in.live -= costOf(m)
		in.dead += costOf(m)
	}
	// Batches may still refer to the array, so it is never overwritten. It is replaced
	// when most of its contents have been acknowledged. Until then all of it counts.
	in.messages = in.messages[n:]
	if in.dead >= in.live {
		in.messages = append([]inbox.Message(nil), in.messages...)
		freed, in.dead = in.dead, 0
	}
	return freed
}

// cost returns what the inbox counts for in total.
func (in *entry) cost() int64 {
	return inboxCost + sizeCost(len(in.id)) + in.live + in.dead + costOfKeys(in.keys.len()) + in.rooms.cost()
}

// A shard is a part of all inboxes, with its own lock.
//
// Every inbox lives for the same time after its owner last looked. So a list in the order
// of the last look is also in the order of expiry: the inboxes to remove are at its head,
// and the rest need not be visited.
type shard struct {
	sync.Mutex // guards everything below, including each entry
	store      *Store
	inboxes    shrink.Map[string, *entry]
	head, tail *entry // head expires first
	messages   int    // number of messages in all inboxes
	bytes      int    // total size of their bodies
	_          [64]byte
}

// findLocked returns the inbox with the given id, or nil. It removes the inbox if it has
// expired.
func (sh *shard) findLocked(id string, now time.Duration) *entry {
	in := sh.inboxes.Get(id)
	if in != nil && in.expires <= now {
		sh.expireLocked(in)
		return nil
	}
	return in
}

// openLocked returns p's inbox and opens it if it does not exist. For life see
// admitLocked.
//
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

// accountLocked records which client opened a new inbox and charges the inbox to its
// quota.
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

// insertLocked adds the inbox to the shard. It reports false if the memory limit has no
// room for it.
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

// acknowledgeLocked removes the messages up to and including upTo. It reports a reset if
// the cursor belongs to another life.
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

// touchLocked restarts the expiry of an inbox.
func (sh *shard) touchLocked(in *entry, now time.Duration) {
	in.expires = now + sh.store.limits.TTL
	sh.unlinkLocked(in)
	sh.appendLocked(in)
}

// addLocked appends a message to an inbox. The caller has reserved its cost.
func (sh *shard) addLocked(in *entry, m inbox.Message, cost int64) {
	in.last++
	in.bytes += len(m.Body)
	in.live += cost
	m.Cursor = inbox.Cursor{Life: in.life, Seq: in.last}
	in.messages = append(in.messages, m)
	sh.messages, sh.bytes = sh.messages+1, sh.bytes+len(m.Body)
}

// expireLocked removes an inbox that has expired. settle then removes it from its rooms.
func (sh *shard) expireLocked(in *entry) {
	sh.removeLocked(in)
	if in.rooms != nil {
		sh.store.leave(leftover{in, true})
	}
}

// removeLocked removes an inbox, but not from its rooms, and returns everything it counted
// for.
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
		in.waker.Wake() // a receiver that still waits opens the next life
	}
}

// removedPerLock bounds how many inboxes are removed without releasing the lock, so that
// requests do not wait for all of them.
const removedPerLock = 64

// removeExpired removes at most removedPerLock inboxes. It reports whether there may be
// more to remove.
func (sh *shard) removeExpired(now time.Duration) (more bool) {
	sh.Lock()
	defer sh.Unlock()
	for range removedPerLock {
		if sh.head == nil || sh.head.expires > now {
			return false
		}
		sh.expireLocked(sh.head)
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
