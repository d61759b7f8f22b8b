package redisstore

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"inbox"
	"inbox/internal/redislink"
	"inbox/internal/shrink"
)

const (
	// A waiting receiver is woken between lookAfter and lookAfter+lookSpread after its
	// last look, in case all its wakes were lost.
	lookAfter, lookSpread = 20 * time.Second, 10 * time.Second
	// holdAtMost is how long Look hides an outage of Redis from waiting receivers.
	holdAtMost = 30 * time.Second
	// holdFor is the TTL that Look reports during an outage. Receivers look again after
	// half of it.
	holdFor = 10 * time.Second
)

// receivers are the receivers that wait, or last waited, at this server. Redis knows a
// receiver by a number, whose lowest byte is its partition.
//
// Wakers are referenced weakly: a poll that was answered leaves nothing behind once its
// waker is collected, although Redis still names it as the inbox's last receiver.
type receivers struct {
	last   atomic.Uint64
	shards [redislink.Partitions]shard
}

type shard struct {
	mu       sync.Mutex // guards everything below, and each receiver
	byWaker  shrink.Map[weak.Pointer[inbox.Waker], *receiver]
	byNumber shrink.Map[uint64, *receiver]
}

type receiver struct {
	waker    weak.Pointer[inbox.Waker]
	number   uint64
	forget   time.Duration // time without looks after which it is forgotten
	attached bool          // whether it has become the receiver of its inbox
	position inbox.Cursor  // position before the messages of its last look
	looked   time.Time     // time of the last successful look
	next     time.Time     // when we wake it to look
}

func (rs *receivers) shard(number uint64) *shard { return &rs.shards[number%redislink.Partitions] }

// enter returns the receiver of a waker and creates it if needed, or nil if the waker has
// ended. It runs before the script does, so that no wake can miss the receiver.
func (rs *receivers) enter(w *inbox.Waker, partition uint8, forget time.Duration) *receiver {
	sh := &rs.shards[partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	weakly := weak.Make(w)
	if r := sh.byWaker.Get(weakly); r != nil {
		return r
	}
	if w.Err() != nil { // it was already forgotten and must not be created again
		return nil
	}
	r := &receiver{waker: weakly, number: rs.last.Add(1)*redislink.Partitions + uint64(partition), forget: forget}
	r.touch()
	sh.byWaker.Put(weakly, r)
	sh.byNumber.Put(r.number, r)
	runtime.AddCleanup(w, rs.forget, r.number)
	return r
}

// forget removes a receiver that has ended, or whose waker was garbage-collected.
func (rs *receivers) forget(number uint64) {
	sh := rs.shard(number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r := sh.byNumber.Get(number); r != nil {
		sh.dropLocked(r)
	}
}

// find returns the receiver of a waker, or nil if it has not entered.
func (rs *receivers) find(w *inbox.Waker, partition uint8) *receiver {
	sh := &rs.shards[partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.byWaker.Get(weak.Make(w))
}

func (r *receiver) touch() {
	r.looked = time.Now()
	r.next = r.looked.Add(lookAfter + rand.N(lookSpread))
}

func (sh *shard) dropLocked(r *receiver) {
	sh.byWaker.Delete(r.waker)
	sh.byNumber.Delete(r.number)
}

// sinceLooked returns how many microseconds ago the receiver last looked, or "" if it is
// not attached.
func (rs *receivers) sinceLooked(r *receiver) string {
	sh := rs.shard(r.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !r.attached {
		return ""
	}
	return strconv.FormatInt(time.Since(r.looked).Microseconds(), 10)
}

// looked records a successful look.
func (rs *receivers) looked(r *receiver, position inbox.Cursor) {
	sh := rs.shard(r.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r.attached, r.position = true, position
	r.touch()
}

// failed records a failed look. It forgets a receiver that never attached.
func (rs *receivers) failed(r *receiver) {
	sh := rs.shard(r.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !r.attached {
		sh.dropLocked(r)
	}
}

// hold reports whether the receiver may keep waiting although Redis is unavailable, and
// its position.
func (rs *receivers) hold(r *receiver) (position inbox.Cursor, ok bool) {
	sh := rs.shard(r.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return r.position, r.attached && time.Since(r.looked) < holdAtMost
}

// leave forgets a receiver.
func (rs *receivers) leave(r *receiver) {
	sh := rs.shard(r.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.dropLocked(r)
}

// waker returns the waker of the receiver with the given number, or nil.
func (rs *receivers) waker(number uint64) *inbox.Waker {
	sh := rs.shard(number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r := sh.byNumber.Get(number); r != nil {
		return r.waker.Value()
	}
	return nil
}

func (rs *receivers) wake(number uint64) {
	if w := rs.waker(number); w != nil {
		w.Wake()
	}
}

// end ends a receiver with a reason and forgets it.
func (rs *receivers) end(number uint64, why error) {
	w := rs.waker(number)
	if w == nil {
		return
	}
	w.End(why)
	rs.forget(number)
}

// all returns the wakers of a partition.
func (rs *receivers) all(partition int) []*inbox.Waker {
	sh := &rs.shards[partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	all := make([]*inbox.Waker, 0, sh.byWaker.Len())
	for weakly := range sh.byWaker.All() {
		if w := weakly.Value(); w != nil {
			all = append(all, w)
		}
	}
	return all
}

// due returns the wakers of the receivers in a partition that should look again. It
// forgets receivers that stopped looking long ago.
func (rs *receivers) due(partition int, now time.Time) (due []*inbox.Waker) {
	sh := &rs.shards[partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, r := range sh.byNumber.All() {
		w := r.waker.Value()
		switch {
		case w == nil || now.Sub(r.looked) > max(r.forget, 2*holdAtMost):
			sh.dropLocked(r)
		case now.After(r.next):
			r.next = now.Add(lookAfter + rand.N(lookSpread))
			due = append(due, w)
		}
	}
	return due
}
