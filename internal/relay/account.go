package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"inbox/internal/shrink"
)

// accounts hold what each inbox uses.
type accounts struct {
	rate  int64
	total *bucket
	start time.Time

	mu     sync.Mutex // guards byUser and the allocations of each account
	byUser shrink.Map[string, *account]
}

// An account is one inbox's. It lasts as long as the inbox has allocations, and until its
// bucket is full, so that a client gains nothing by ending them.
type account struct {
	user        string
	bucket      *bucket
	allocations int
}

func newAccounts(rate, total int64) *accounts {
	return &accounts{rate: rate, total: newBucket(total), start: time.Now()}
}

// allocations returns how many a user has.
func (a *accounts) allocations(user string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.byUser.Get(user); c != nil {
		return c.allocations
	}
	return 0
}

// open takes an allocation of a user, or returns nil if it has MaxAllocations.
func (a *accounts) open(user string) *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.byUser.Get(user)
	if c == nil {
		c = &account{user: user, bucket: newBucket(a.rate)}
		a.byUser.Put(user, c)
	}
	if c.allocations == MaxAllocations {
		return nil
	}
	c.allocations++
	return c
}

// close gives an allocation back.
func (a *accounts) close(c *account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.allocations--
	a.forgetLocked(c)
}

// forgetLocked removes an account that is not used, now or when its bucket is full.
func (a *accounts) forgetLocked(c *account) {
	if c.allocations > 0 || a.byUser.Get(c.user) != c {
		return
	}
	if wait := c.bucket.fullIn(a.now()); wait > 0 {
		time.AfterFunc(wait, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.forgetLocked(c)
		})
		return
	}
	a.byUser.Delete(c.user)
}

func (a *accounts) now() int64 { return int64(time.Since(a.start)) }

// A bucket limits bytes a second with GCRA, without a lock. A nil bucket limits nothing.
type bucket struct {
	each float64      // nanoseconds that a byte refills in
	most int64        // nanoseconds that the burst refills in
	full atomic.Int64 // when the bucket is full
}

const (
	// burst is how much of a second's bytes may come at once: a key frame of a video.
	burst      = 500 * time.Millisecond
	leastBurst = 64 << 10 // bytes
)

func newBucket(rate int64) *bucket {
	if rate <= 0 {
		return nil
	}
	each := float64(time.Second) / float64(rate)
	return &bucket{each: each, most: max(int64(burst), int64(leastBurst*each))}
}

// take counts n bytes if there is room for them.
func (b *bucket) take(n int, now int64) bool {
	if b == nil {
		return true
	}
	for {
		old := b.full.Load()
		next := max(old, now) + int64(float64(n)*b.each)
		if next > now+b.most {
			return false
		}
		if b.full.CompareAndSwap(old, next) {
			return true
		}
	}
}

// giveBack undoes a take.
func (b *bucket) giveBack(n int) {
	if b != nil {
		b.full.Add(-int64(float64(n) * b.each))
	}
}

func (b *bucket) fullIn(now int64) time.Duration {
	if b == nil {
		return 0
	}
	return time.Duration(b.full.Load() - now)
}

// charge counts a packet of n bytes against the inbox and the server, and reports whether
// it may pass.
func (s *Server) charge(c *account, n int) bool {
	now := s.users.now()
	if !c.bucket.take(n, now) {
		s.Figures.DroppedRate.Add(1)
		return false
	}
	if !s.users.total.take(n, now) {
		c.bucket.giveBack(n)
		s.Figures.DroppedTotal.Add(1)
		return false
	}
	return true
}
