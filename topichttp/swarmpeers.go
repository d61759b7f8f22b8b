package topichttp

import (
	"slices"
	"time"

	"inbox"
)

// The methods below need the tracker's lock.

func (s *swarm) insert(p *peer) {
	p.at = len(s.peers)
	s.peers = append(s.peers, p)
	p.next = s.named.Get(p.id)
	s.named.Put(p.id, p)
	if p.member != nil {
		s.networks[p.network()]++
	}
	if p.seeder {
		s.seeders++
	}
}

func (s *swarm) remove(p *peer) {
	last := len(s.peers) - 1
	s.swap(p.at, last)
	s.peers[last] = nil
	if s.peers = s.peers[:last]; cap(s.peers) > 64 && last < cap(s.peers)/4 {
		s.peers = slices.Clone(s.peers)
	}
	s.unname(p)
	if p.member != nil {
		network := p.network()
		if s.networks[network]--; s.networks[network] == 0 {
			delete(s.networks, network)
		}
	}
	if p.seeder {
		s.seeders--
	}
}

// unname removes a peer from those with its id.
func (s *swarm) unname(p *peer) {
	first := s.named.Get(p.id)
	switch {
	case first != p:
		for first.next != p {
			first = first.next
		}
		first.next = p.next
	case p.next != nil:
		s.named.Put(p.id, p.next)
	default:
		s.named.Delete(p.id)
	}
	p.next = nil
}

// namesakes returns the number of peers with an id.
func (s *swarm) namesakes(i id) (n int) {
	for p := s.named.Get(i); p != nil; p = p.next {
		n++
	}
	return n
}

// find reports whether this server has peers with an id, and whether other servers have
// some. It calls do, unless it is nil, with each at this server.
func (s *swarm) find(i id, do func(m *member)) (here, elsewhere bool) {
	for p := s.named.Get(i); p != nil; p = p.next {
		if p.member == nil {
			elsewhere = true
			continue
		}
		if here = true; do != nil {
			do(p.member)
		}
	}
	return here, elsewhere
}

func (s *swarm) swap(i, j int) {
	s.peers[i], s.peers[j] = s.peers[j], s.peers[i]
	s.peers[i].at, s.peers[j].at = i, j
}

// deliver delivers a frame to all peers with an id at this server. It reports whether
// there are any, and whether other servers have some.
func (s *swarm) deliver(to id, frame []byte) (here, elsewhere bool) {
	publication := &inbox.Publication{Body: frame}
	return s.find(to, func(m *member) { m.Deliver(publication) })
}

// sweep removes peers that their servers no longer list.
func (s *swarm) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	for key, p := range s.remote {
		if now.Sub(p.seen) >= peerTTL {
			s.forget(key)
		}
	}
}

func (s *swarm) forget(key remotePeer) {
	if p := s.remote[key]; p != nil {
		delete(s.remote, key)
		s.remove(p)
	}
}

// see records that another server has listed a peer.
func (s *swarm) see(key remotePeer, seeder bool, now time.Time) {
	p := s.remote[key]
	if p == nil || p.seeder != seeder {
		s.forget(key)
		if s.sweep(now); len(s.remote) >= s.all.SwarmPeers {
			return
		}
		p = &peer{id: key.id, seeder: seeder, met: p != nil && p.met}
		s.remote[key] = p
		s.insert(p)
	}
	p.seen = now
}
