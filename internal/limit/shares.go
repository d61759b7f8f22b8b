package limit

import (
	"hash/maphash"
	"net/netip"
	"sync"

	"inbox/internal/shrink"
)

// Shares count what clients have at a time, such as connections. Unlike a Table, Shares
// forget nothing: they remember a client as long as it has something, so whatever they
// count has to have a bound for the whole server. They are safe for concurrent use. Nil
// Shares limit nothing.
type Shares struct {
	limit  int64
	seed   maphash.Seed
	shards [stripes]struct {
		sync.Mutex
		used shrink.Map[netip.Prefix, int64]
	}
}

// NewShares lets each client have limit of something; 0 returns nil.
func NewShares(limit int64) *Shares {
	if limit == 0 {
		return nil
	}
	return &Shares{limit: limit, seed: maphash.MakeSeed()}
}

// Take reserves n for a client and reports whether there was room. The caller gives it
// back with Give.
func (s *Shares) Take(a netip.Addr, n int) bool {
	if s == nil {
		return true
	}
	near, wide := networks(a)
	if !s.add(near, int64(n), s.limit) {
		return false
	}
	if wide.IsValid() && !s.add(wide, int64(n), s.limit*wider) {
		s.add(near, int64(-n), 0)
		return false
	}
	return true
}

// Give returns n that Take has reserved.
func (s *Shares) Give(a netip.Addr, n int) {
	if s == nil {
		return
	}
	near, wide := networks(a)
	s.add(near, int64(-n), 0)
	if wide.IsValid() {
		s.add(wide, int64(-n), 0)
	}
}

// add changes what a network has. It refuses to go beyond limit.
func (s *Shares) add(network netip.Prefix, n, limit int64) bool {
	shard := &s.shards[maphash.Comparable(s.seed, network)%stripes]
	shard.Lock()
	defer shard.Unlock()
	used := shard.used.Get(network) + n
	switch {
	case n > 0 && used > limit:
		return false
	case used == 0:
		shard.used.Delete(network)
	default:
		shard.used.Put(network, used)
	}
	return true
}

// networks returns the networks that an address counts in: itself or its /64, and its
// /48, which only an IPv6 address has. Those of an invalid address are not valid.
func networks(a netip.Addr) (near, wide netip.Prefix) {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		near, _ = a.Prefix(32)
		return near, wide
	}
	near, _ = a.Prefix(64)
	wide, _ = a.Prefix(48)
	return near, wide
}
