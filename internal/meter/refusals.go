// Package meter counts what the server does, for its metrics and its log: requests and
// receivers by transport ([Meter]), durations ([Histogram]), and refusals by reason and
// network ([Refusals]). Counting is an atomic addition; readers do the rest of the work.
//
// Everything in it is safe for concurrent use unless its comment says otherwise. Methods
// that count do nothing on a nil pointer.
package meter

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Refusals counts refusals by reason, and remembers for a while which networks were
// refused. Create one with [NewRefusals].
type Refusals struct {
	clients bool // remember full addresses instead of networks
	counts  [reasonCount]atomic.Uint64
	shards  [refusalShards]refusalShard
}

const (
	refusalShards = 16
	// networksPerShard bounds the memory of networks to 1,024 in total.
	networksPerShard = 64
)

type refusalShard struct {
	mu    sync.Mutex // guards heavy
	heavy map[source]uint64
}

type source struct {
	reason  Reason
	network netip.Prefix // the zero Prefix if unknown
}

// NewRefusals returns a Refusals that remembers networks or, if clients is set, full
// addresses.
func NewRefusals(clients bool) *Refusals { return &Refusals{clients: clients} }

// Add counts a refusal to a client. Pass the zero Addr if its address is unknown.
func (r *Refusals) Add(why Reason, client netip.Addr) {
	if r == nil {
		return
	}
	r.counts[why].Add(1)
	if why.Expected() {
		return
	}
	from := source{why, r.network(client)}
	r.shards[shardOf(from.network)].add(from)
}

// network returns what is remembered of an address: its /24 or /48, or all of it.
func (r *Refusals) network(client netip.Addr) netip.Prefix {
	if !client.IsValid() {
		return netip.Prefix{}
	}
	client = client.Unmap().WithZone("")
	bits := client.BitLen()
	switch {
	case r.clients:
	case client.Is4():
		bits = 24
	default:
		bits = 48
	}
	p, _ := client.Prefix(bits) // the bits are in range
	return p
}

func shardOf(p netip.Prefix) int {
	sum := 0
	for _, b := range p.Addr().As16() {
		sum = sum*31 + int(b)
	}
	return sum & (refusalShards - 1)
}

// add implements the Misra–Gries algorithm: when there is no room, it decrements all
// counts. A network with more than its share of refusals stays, and its count is a lower
// bound.
func (s *refusalShard) add(from source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heavy == nil {
		s.heavy = make(map[source]uint64)
	}
	if _, known := s.heavy[from]; known || len(s.heavy) < networksPerShard {
		s.heavy[from]++
		return
	}
	for other, n := range s.heavy {
		if n == 1 {
			delete(s.heavy, other)
		} else {
			s.heavy[other] = n - 1
		}
	}
}

// Count returns the number of refusals for a reason.
func (r *Refusals) Count(why Reason) uint64 {
	if r == nil {
		return 0
	}
	return r.counts[why].Load()
}

// A Source is a network or an address, and a lower bound of its refusals.
type Source struct {
	Network netip.Prefix // the zero Prefix if unknown
	Count   uint64
}

// Take returns the sources of the refusals since the last Take, by reason and in
// descending order of refusals, and forgets them.
func (r *Refusals) Take() map[Reason][]Source {
	all := make(map[Reason][]Source)
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		heavy := s.heavy
		s.heavy = nil
		s.mu.Unlock()
		for from, n := range heavy {
			all[from.reason] = append(all[from.reason], Source{from.network, n})
		}
	}
	for _, sources := range all {
		slices.SortFunc(sources, func(a, b Source) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), a.Network.Compare(b.Network))
		})
	}
	return all
}
