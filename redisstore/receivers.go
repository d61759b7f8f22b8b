package redisstore

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"inbox"
)

const (
	// lookAfter to lookAfter+lookSpread after its last look, a receiver that
	// waits is made to look again, should every wake have been lost.
	lookAfter, lookSpread = 20 * time.Second, 10 * time.Second
	// holdAtMost is for how long those who wait are not told that Redis is away.
	holdAtMost = 30 * time.Second
	// holdFor is the TTL that they are told meanwhile: they look after half of it.
	holdFor = 10 * time.Second
)

// receivers are those who wait, or waited last, at this server. A receiver is
// known to Redis by a number, whose lowest byte is its partition.
type receivers struct {
	last   atomic.Uint64
	shards [partitions]shard
}

type shard struct {
	mu         sync.Mutex // guards what follows, and each waiter
	byReceiver map[*inbox.Receiver]*waiter
	byNumber   map[uint64]*waiter
}

type waiter struct {
	receiver *inbox.Receiver
	number   uint64
	forget   time.Duration // after it has not looked for so long
	attached bool          // it has become the receiver of its inbox
	position inbox.Cursor  // before what it found last
	looked   time.Time     // with success
	next     time.Time     // look that we cause
}

func (rs *receivers) shard(number uint64) *shard { return &rs.shards[number%partitions] }

// enter returns the waiter of a receiver, or nil if the receiver was ended. It is
// known before the script runs, so that no wake misses it.
func (rs *receivers) enter(r *inbox.Receiver, partition uint8, forget time.Duration) *waiter {
	sh := &rs.shards[partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if w := sh.byReceiver[r]; w != nil {
		return w
	}
	if r.Err() != nil { // it was forgotten for that, and is not to come as a new one
		return nil
	}
	if sh.byReceiver == nil {
		sh.byReceiver, sh.byNumber = make(map[*inbox.Receiver]*waiter), make(map[uint64]*waiter)
	}
	w := &waiter{receiver: r, number: rs.last.Add(1)*partitions + uint64(partition), forget: forget}
	w.touch()
	sh.byReceiver[r], sh.byNumber[w.number] = w, w
	return w
}

func (w *waiter) touch() {
	w.looked = time.Now()
	w.next = w.looked.Add(lookAfter + rand.N(lookSpread))
}

func (sh *shard) dropLocked(w *waiter) {
	delete(sh.byReceiver, w.receiver)
	delete(sh.byNumber, w.number)
}

// sinceLooked is how many microseconds ago Redis saw the receiver, or "".
func (rs *receivers) sinceLooked(w *waiter) string {
	sh := rs.shard(w.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !w.attached {
		return ""
	}
	return strconv.FormatInt(time.Since(w.looked).Microseconds(), 10)
}

// looked notes a look that succeeded.
func (rs *receivers) looked(w *waiter, position inbox.Cursor) {
	sh := rs.shard(w.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w.attached, w.position = true, position
	w.touch()
}

// failed notes a look that did not: whoever never attached is forgotten.
func (rs *receivers) failed(w *waiter) {
	sh := rs.shard(w.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !w.attached {
		sh.dropLocked(w)
	}
}

// hold reports whether the receiver may go on waiting though Redis is away, and
// the position that it is at.
func (rs *receivers) hold(w *waiter) (position inbox.Cursor, ok bool) {
	sh := rs.shard(w.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return w.position, w.attached && time.Since(w.looked) < holdAtMost
}

// find returns the receiver of that number, or nil.
func (rs *receivers) find(number uint64) *inbox.Receiver {
	sh := rs.shard(number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if w := sh.byNumber[number]; w != nil {
		return w.receiver
	}
	return nil
}

func (rs *receivers) wake(number uint64) {
	if r := rs.find(number); r != nil {
		r.Wake()
	}
}

// end tells a receiver that it waits no longer, and forgets it.
func (rs *receivers) end(number uint64, why error) {
	r := rs.find(number)
	if r == nil {
		return
	}
	r.End(why)
	sh := rs.shard(number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if w := sh.byNumber[number]; w != nil {
		sh.dropLocked(w)
	}
}

// all returns the receivers of a partition.
func (rs *receivers) all(partition int) []*inbox.Receiver {
	sh := &rs.shards[partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	all := make([]*inbox.Receiver, 0, len(sh.byReceiver))
	for r := range sh.byReceiver {
		all = append(all, r)
	}
	return all
}

// due returns the receivers of a partition that are to look again by now, and
// forgets those that have long stopped looking.
func (rs *receivers) due(partition int, now time.Time) (due []*inbox.Receiver) {
	sh := &rs.shards[partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for r, w := range sh.byReceiver {
		switch {
		case now.Sub(w.looked) > max(w.forget, 2*holdAtMost):
			sh.dropLocked(w)
		case now.After(w.next):
			w.next = now.Add(lookAfter + rand.N(lookSpread))
			due = append(due, r)
		}
	}
	return due
}
