package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"inbox/internal/shrink"
)

// accounts tracks what each inbox uses.
type accounts struct {
	rate  int64
	total *bucket
	start time.Time

	mu     sync.Mutex // guards byUser and the accounts in it
	byUser shrink.Map[string, *account]
}

// An account is the usage of one inbox. It lasts while the inbox has allocations and
// until its bucket is full, so that ending allocations does not reset the rate limit.
type account struct {
	user        string
	bucket      *bucket
	allocations int
}

func newAccounts(rate, total int64) *accounts {
	return &accounts{rate: rate, total: newBucket(total), start: time.Now()}
}

// allocations returns how many allocations a user has.
func (a *accounts) allocations(user string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.byUser.Get(user); c != nil {
		return c.allocations
	}
	return 0
}

// open counts a new allocation of a user. It returns nil if the user already has
// MaxAllocations.
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

// close undoes open.
func (a *accounts) close(c *account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.allocations--
	a.forgetLocked(c)
}

// forgetLocked removes an unused account, now or once its bucket is full.
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

// A bucket limits bytes per second using GCRA, without a lock. A nil bucket does not
// limit.
type bucket struct {
	each float64      // nanoseconds in which one byte refills
	most int64        // nanoseconds in which the burst refills
	full atomic.Int64 // when the bucket will be full
}

const (
	// burst is the time whose bytes may be sent at once, which allows key frames of a
	// video.
	burst    = 500 * time.Millisecond
	minBurst = 64 << 10 // bytes
)

func newBucket(rate int64) *bucket {
	if rate <= 0 {
		return nil
	}
	each := float64(time.Second) / float64(rate)
	return &bucket{each: each, most: max(int64(burst), int64(minBurst*each))}
}

// take counts n bytes and reports true if they fit.
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

// giveBack undoes take.
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

// charge counts a packet of n bytes against the limits of the inbox and the server. It
// reports whether the packet may pass.
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
