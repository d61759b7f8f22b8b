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
	// lookAfter to lookAfter+lookSpread after its last look, a receiver that
	// waits is made to look again, should every wake have been lost.
	lookAfter, lookSpread = 20 * time.Second, 10 * time.Second
	// holdAtMost is for how long those who wait are not told that Redis is away.
	holdAtMost = 30 * time.Second
	// holdFor is the TTL that they are told meanwhile: they look after half of it.
	holdFor = 10 * time.Second
)

// receivers are those that wait, or waited last, at this server. Redis knows a
// receiver by a number, whose lowest byte is its partition.
//
// They hold wakers weakly: a poll that was answered leaves nothing here once its waker
// is collected, although Redis goes on to name it as the inbox's last receiver.
type receivers struct {
	last   atomic.Uint64
	shards [redislink.Partitions]shard
}

type shard struct {
	mu       sync.Mutex // guards what follows, and each receiver
	byWaker  shrink.Map[weak.Pointer[inbox.Waker], *receiver]
	byNumber shrink.Map[uint64, *receiver]
}

type receiver struct {
	waker    weak.Pointer[inbox.Waker]
	number   uint64
	forget   time.Duration // after it has not looked for so long
	attached bool          // it has become the receiver of its inbox
	position inbox.Cursor  // before what it found last
	looked   time.Time     // with success
	next     time.Time     // look that we cause
}

func (rs *receivers) shard(number uint64) *shard { return &rs.shards[number%redislink.Partitions] }

// enter returns the receiver of a waker, or nil if that was ended. It is known
// before the script runs, so that no wake misses it.
func (rs *receivers) enter(w *inbox.Waker, partition uint8, forget time.Duration) *receiver {
	sh := &rs.shards[partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	weakly := weak.Make(w)
	if r := sh.byWaker.Get(weakly); r != nil {
		return r
	}
	if w.Err() != nil { // it was forgotten for that, and is not to come as a new one
		return nil
	}
	r := &receiver{waker: weakly, number: rs.last.Add(1)*redislink.Partitions + uint64(partition), forget: forget}
	r.touch()
	sh.byWaker.Put(weakly, r)
	sh.byNumber.Put(r.number, r)
	runtime.AddCleanup(w, rs.collected, r.number)
	return r
}

// collected forgets the receiver of a waker that nobody can wake any more.
func (rs *receivers) collected(number uint64) {
	sh := rs.shard(number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r := sh.byNumber.Get(number); r != nil {
		sh.dropLocked(r)
	}
}

// find returns the receiver of a waker that has entered, or nil.
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

// sinceLooked is how many microseconds ago Redis saw the receiver, or "".
func (rs *receivers) sinceLooked(r *receiver) string {
	sh := rs.shard(r.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !r.attached {
		return ""
	}
	return strconv.FormatInt(time.Since(r.looked).Microseconds(), 10)
}

// looked notes a look that succeeded.
func (rs *receivers) looked(r *receiver, position inbox.Cursor) {
	sh := rs.shard(r.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r.attached, r.position = true, position
	r.touch()
}

// failed notes a look that did not: whoever never attached is forgotten.
func (rs *receivers) failed(r *receiver) {
	sh := rs.shard(r.number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !r.attached {
		sh.dropLocked(r)
	}
}

// hold reports whether the receiver may go on waiting though Redis is away, and
// the position that it is at.
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

// waker returns that of the receiver with this number, or nil.
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

// end tells a receiver why its stay is over, and forgets it.
func (rs *receivers) end(number uint64, why error) {
	w := rs.waker(number)
	if w == nil {
		return
	}
	w.End(why)
	sh := rs.shard(number)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r := sh.byNumber.Get(number); r != nil {
		sh.dropLocked(r)
	}
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

// due returns the wakers of the receivers in a partition that have to look again
// by now, and forgets the receivers that stopped looking long ago.
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
