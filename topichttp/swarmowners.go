package topichttp

import (
	"cmp"
	"container/heap"
	"container/list"
	"net/netip"
	"slices"

	"inbox/internal/clientaddr"
)

// owners share the tracker's swarms fairly. When there are too many, the network that has
// created the most loses its oldest one, so nobody can replace the swarms of everyone else.
type owners struct {
	byNetwork map[netip.Prefix]*owner
	heap      ownerHeap
}

// An owner is the network of the clients that have created some swarms.
type owner struct {
	network netip.Prefix
	swarms  list.List // of *swarm, the last announced first
	at      int       // index in the heap
}

func (o *owner) oldest() *swarm { return o.swarms.Back().Value.(*swarm) }

// networkOf returns an IPv4 address or an IPv6 /48. One site would be 65,536 of /64.
func networkOf(client netip.Addr) netip.Prefix {
	keys := clientaddr.KeysOf(client)
	if keys.Wide.IsValid() {
		return keys.Wide
	}
	return keys.Near
}

// add adds a swarm that a client has created.
func (all *owners) add(s *swarm, client netip.Addr) {
	network := networkOf(client)
	s.owner = all.byNetwork[network]
	if s.owner != nil {
		s.owned = s.owner.swarms.PushFront(s)
		heap.Fix(&all.heap, s.owner.at)
		return
	}
	s.owner = &owner{network: network}
	all.byNetwork[network] = s.owner
	s.owned = s.owner.swarms.PushFront(s)
	heap.Push(&all.heap, s.owner)
}

// announced records that a swarm is the last announced.
func (all *owners) announced(s *swarm) {
	s.owner.swarms.MoveToFront(s.owned)
	heap.Fix(&all.heap, s.owner.at)
}

func (all *owners) remove(s *swarm) {
	o := s.owner
	if o.swarms.Len() > 1 {
		o.swarms.Remove(s.owned)
		heap.Fix(&all.heap, o.at)
		return
	}
	heap.Remove(&all.heap, o.at)
	o.swarms.Remove(s.owned)
	delete(all.byNetwork, o.network)
}

// next returns the swarm to drop next: of the owner with the most, the one without an announce
// for the longest time.
func (all *owners) next() *swarm { return all.heap[0].oldest() }

// ownerHeap is a heap by number of swarms, the most first, and then by the age of the last
// announce in the oldest swarm.
type ownerHeap []*owner

func (h ownerHeap) Len() int { return len(h) }

func (h ownerHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[j].swarms.Len(), h[i].swarms.Len()), h[i].oldest().announced.Compare(h[j].oldest().announced)) < 0
}

func (h ownerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *ownerHeap) Push(x any) {
	o := x.(*owner)
	o.at = len(*h)
	*h = append(*h, o)
}

func (h *ownerHeap) Pop() any {
	last := len(*h) - 1
	o := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return o
}

// makeRoom removes a peer from a full swarm, of the network with the most peers at this
// server, unless the client's network would then have as many. Otherwise one network could
// keep everyone else out of a swarm. It reports whether there is room.
func (s *swarm) makeRoom(client netip.Addr, e *effects) bool {
	own := s.networks[networkOf(client)] + 1
	var largest netip.Prefix
	most := own
	for network, n := range s.networks {
		if n > most {
			largest, most = network, n
		}
	}
	if most == own {
		return false
	}
	i := slices.IndexFunc(s.peers, func(p *peer) bool { return p.member != nil && p.network() == largest })
	s.all.evict(s, s.peers[i], e)
	return true
}

// network returns the network of a peer at this server.
func (p *peer) network() netip.Prefix { return networkOf(p.member.socket.Client()) }
