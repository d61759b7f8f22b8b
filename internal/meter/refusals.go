// Package meter counts what the server does, for its metrics and its log. Counting is
// adding to an atomic number; whoever shows the numbers reads them.
//
// Everything here is safe for concurrent use, and a nil pointer counts nothing.
package meter

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Refusals counts what the server refuses, by reason, and remembers for a while which
// networks it refuses it to. Make one with [NewRefusals].
type Refusals struct {
	clients bool // full addresses instead of networks
	counts  [reasonCount]atomic.Uint64
	shards  [refusalShards]refusalShard
}

const (
	refusalShards = 16
	// networksPerShard bounds what is remembered: 1,024 networks in all.
	networksPerShard = 64
)

type refusalShard struct {
	mu    sync.Mutex // guards what follows
	heavy map[source]uint64
}

type source struct {
	reason  Reason
	network netip.Prefix // the zero Prefix: not known
}

// NewRefusals returns a Refusals that remembers networks or, with clients, full
// addresses.
func NewRefusals(clients bool) *Refusals { return &Refusals{clients: clients} }

// Add counts one refusal to a client. The zero Addr stands for a client whose address
// is not known.
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

// network is the part of an address that is remembered: a /24 or a /48.
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

// add is the algorithm of Misra and Gries: when there is no room, everybody's count
// falls by one. A network with more than its share stays, and its count is too low
// rather than too high.
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

// Count returns how often the server has refused something for that reason.
func (r *Refusals) Count(why Reason) uint64 {
	if r == nil {
		return 0
	}
	return r.counts[why].Load()
}

// A Source is a network, or an address, and at least how often it was refused something.
type Source struct {
	Network netip.Prefix // the zero Prefix: not known
	Count   uint64
}

// Take returns the sources of the refusals since the last Take, by reason and most
// refused first, and forgets them.
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
