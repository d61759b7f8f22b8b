package limit

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"

	"inbox/internal/clientaddr"
	"inbox/internal/shrink"
)

// Shares count what clients have at a time, such as connections. Unlike a [Table], Shares
// never forget a client that has something, so what they count must also be bounded for
// the whole server. They are safe for concurrent use. Nil Shares and invalid addresses
// are not limited.
type Shares struct {
	limit  int64
	seed   maphash.Seed
	shards [stripes]struct {
		sync.Mutex
		used shrink.Map[netip.Prefix, int64]
	}
}

// NewShares returns Shares that allow each client limit units. It returns nil if limit is
// 0.
func NewShares(limit int64) *Shares {
	if limit == 0 {
		return nil
	}
	return &Shares{limit: limit, seed: maphash.MakeSeed()}
}

// Take reserves n units for a client and reports whether there was room. The caller
// returns them with Give.
func (s *Shares) Take(a netip.Addr, n int) bool {
	if s == nil || !a.IsValid() {
		return true
	}
	k := clientaddr.KeysOf(a)
	if !s.add(k.Near, int64(n), s.limit) {
		return false
	}
	if k.Wide.IsValid() && !s.add(k.Wide, int64(n), s.limit*wider) {
		s.add(k.Near, int64(-n), 0)
		return false
	}
	return true
}

// Force reserves n units for a client even if there is no room; see Over.
func (s *Shares) Force(a netip.Addr, n int) {
	if s == nil || !a.IsValid() {
		return
	}
	k := clientaddr.KeysOf(a)
	s.add(k.Near, int64(n), math.MaxInt64)
	if k.Wide.IsValid() {
		s.add(k.Wide, int64(n), math.MaxInt64)
	}
}

// Over reports whether a client exceeds its limit, which only Force can cause.
func (s *Shares) Over(a netip.Addr) bool {
	if s == nil || !a.IsValid() {
		return false
	}
	k := clientaddr.KeysOf(a)
	return !s.add(k.Near, 0, s.limit) || k.Wide.IsValid() && !s.add(k.Wide, 0, s.limit*wider)
}

// Give returns n units that Take or Force has reserved.
func (s *Shares) Give(a netip.Addr, n int) {
	if s == nil || !a.IsValid() {
		return
	}
	k := clientaddr.KeysOf(a)
	s.add(k.Near, int64(-n), 0)
	if k.Wide.IsValid() {
		s.add(k.Wide, int64(-n), 0)
	}
}

// Networks returns the number of networks that have something.
func (s *Shares) Networks() (n int) {
	if s == nil {
		return 0
	}
	for i := range s.shards {
		shard := &s.shards[i]
		shard.Lock()
		n += shard.used.Len()
		shard.Unlock()
	}
	return n
}

// add adds n to the count of a network. It reports false, and changes nothing, if a
// positive n would exceed the limit.
func (s *Shares) add(network netip.Prefix, n, limit int64) bool {
	shard := &s.shards[maphash.Comparable(s.seed, network)%stripes]
	shard.Lock()
	defer shard.Unlock()
	used := shard.used.Get(network) + n
	switch {
	case n >= 0 && used > limit:
		return false
	case used == 0:
		shard.used.Delete(network)
	default:
		shard.used.Put(network, used)
	}
	return true
}
