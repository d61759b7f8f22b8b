package topichttp

import (
	"bytes"
	"container/list"
	crand "crypto/rand"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"inbox"
	"inbox/internal/meter"
	"inbox/internal/shrink"
)

const (
	// swarmTTL is how long a swarm lives without an announce at this server.
	swarmTTL = 20 * time.Minute
	// peerTTL is how long a server remembers a peer that another server has listed. Servers
	// list their peers again with the first announce after an announceInterval.
	peerTTL = 5 * time.Minute
	// sweepEvery is the time between searches for peers beyond peerTTL.
	sweepEvery = 30 * time.Second
	// listEvery and listMost bound the lists of a server's peers in one swarm. Long lists are
	// rarer: see listPause.
	listEvery = 100 * time.Millisecond
	listMost  = 1000
	// A server to which a swarm is new does not know the peers at other servers yet. For
	// earlyFor, it keeps the offers of at most earlyMost announces for them.
	earlyFor  = 2 * time.Second
	earlyMost = 64

	topicPrefix = "tracker:"
	// SwarmName is the length of the name of a swarm's topic, which Topics must allow.
	SwarmName = len(topicPrefix) + len(id{})
)

// Kinds of messages between servers. The id of the sending server follows.
const (
	present = 'p' // peers at the server: for each 's' for a seeder or 'l' for others, and its id
	hello   = 'h' // peers as in present, from a server that asks for those at others
	reply   = 'r' // peers as in present, in reply to hello
	gone    = 'g' // the id of a peer that has left
	passed  = 's' // the id of a peer at another server, and a frame for it
)

type serverID [8]byte

// swarms are the tracker's. Swarms call Topics without a lock, since Topics call swarms
// with a lock held.
type swarms struct {
	*Config
	server  serverID // a random name for this server
	relayed atomic.Uint64

	mu     sync.Mutex // guards the fields below, swarms and peers
	byHash map[id]*swarm
	recent list.List // of *swarm, the last announced first
	owners owners
	local  int // peers at this server
}

// A swarm has at least one peer at this server. It is a [inbox.Subscriber] of a topic in
// which servers list their peers and pass signals on.
type swarm struct {
	all       *swarms
	hash      id
	owner     *owner
	recent    *list.Element // in the tracker's list
	owned     *list.Element // in the owner's list
	announced time.Time     // last announce at this server
	dropped   bool
	peers     []*peer               // in random order
	named     shrink.Map[id, *peer] // the first peer with an id; peer.next are the others
	remote    map[remotePeer]*peer
	networks  map[netip.Prefix]int // numbers of peers at this server
	seeders   int
	listed    time.Time // when this server last listed its peers
	due       byte      // kind of the list that is due, or zero
	swept     time.Time
	early     []*announce // with the offers that are left; they count as in flight
	isNew     bool        // for earlyFor
}

// A peer is a client's in one swarm. Different clients can use the same id.
type peer struct {
	id      id
	next    *peer   // with the same id
	at      int     // index in the swarm's peers
	member  *member // nil: at another server
	seeder  bool
	dropped bool      // from the swarm
	met     bool      // early offers have been passed on to it, or come from there
	seen    time.Time // when another server last listed it
}

type remotePeer struct {
	server serverID
	id     id
}

// tracked is one of a client's peers, and its swarm.
type tracked struct {
	swarm *swarm
	peer  *peer
}

// effects are calls of Topics that follow from a change.
type effects struct {
	swarm    *swarm
	begins   bool     // swarm is new
	ended    []*swarm // dropped
	messages [][]byte // to the other servers with peers in swarm
}

func (t *swarms) begin(c *Config) {
	t.Config, t.byHash = c, make(map[id]*swarm)
	t.owners.byNetwork = make(map[netip.Prefix]*owner)
	crand.Read(t.server[:]) // never fails
}

// do changes swarms with the lock held, and then calls Topics.
func (t *swarms) do(change func(e *effects)) {
	var e effects
	t.mu.Lock()
	change(&e)
	t.mu.Unlock()
	for _, s := range e.ended {
		t.Topics.Unsubscribe(s.topic(), s)
	}
	if e.begins {
		_, _ = t.Topics.Subscribe(e.swarm.topic(), e.swarm) // fails only if topics must have very short names
		t.mu.Lock()
		dropped := e.swarm.dropped
		t.mu.Unlock()
		if dropped { // meanwhile
			t.Topics.Unsubscribe(e.swarm.topic(), e.swarm)
		}
	}
	for _, body := range e.messages {
		_ = t.Topics.Publish(e.swarm.topic(), body)
	}
}

// counts returns the numbers of peers in a swarm that this server knows.
func (t *swarms) counts(hash id) (c counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.byHash[hash]; s != nil {
		c = s.counts()
	}
	return c
}

// copies returns how many deliveries an announce causes. The search for peers to offer to
// passes over those with the id of the one that offers, so they count too.
func (t *swarms) copies(a *announce) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byHash[a.hash]
	if s != nil && len(a.offers) > 0 {
		n = min(len(a.offers), len(s.peers)-1) + max(0, s.namesakes(a.peer)-1)
	}
	if s != nil && a.answer.body != nil {
		n += s.namesakes(a.to)
	}
	return n
}

// stats returns the number of swarms, and of peers at this server.
func (t *swarms) stats() (swarms, peers int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byHash), t.local
}

// announce adds a peer to its swarm unless it is there, and passes on its offers and its
// answer.
func (t *swarms) announce(a *announce) (c counts, err *refusal) {
	now := time.Now()
	t.do(func(e *effects) {
		if err = t.join(a, now, e); err == nil {
			e.swarm.relay(a, now, e)
			c = e.swarm.counts()
		}
	})
	return c, err
}

// join adds or updates the peer of an announce.
func (t *swarms) join(a *announce, now time.Time, e *effects) *refusal {
	m := a.m
	m.tracked = slices.DeleteFunc(m.tracked, func(in tracked) bool { return in.swarm.dropped || in.peer.dropped })
	var p *peer
	if i := m.trackedAt(a.hash, a.peer); i >= 0 {
		e.swarm, p = m.tracked[i].swarm, m.tracked[i].peer
	} else {
		if len(m.tracked) >= t.PerConnection || m.hold((len(m.tracked)+1)*subscriptionCost) != nil {
			return errTracked
		}
		if e.swarm = t.byHash[a.hash]; e.swarm == nil {
			t.create(a, now, e)
		}
		if e.swarm.here() >= t.SwarmPeers && !e.swarm.makeRoom(m.socket.Client(), e) {
			return errFull
		}
	}
	s := e.swarm
	s.announced = now
	t.recent.MoveToFront(s.recent)
	t.owners.announced(s)
	changed := p == nil || a.seeder && !p.seeder
	if p == nil {
		p = &peer{id: a.peer, member: m}
		s.insert(p)
		t.local++
		m.tracked = append(m.tracked, tracked{s, p})
	}
	if a.seeder && !p.seeder {
		p.seeder = true
		s.seeders++
	}
	switch {
	case e.begins:
		s.list(hello, now, e)
	case now.Sub(s.listed) >= announceInterval:
		s.list(present, now, e)
	case changed:
		e.messages = append(e.messages, appendPeer(t.message(present), p))
	}
	return nil
}

// create adds a swarm, and drops those that are too old or too many.
func (t *swarms) create(a *announce, now time.Time, e *effects) {
	for last := t.recent.Back(); last != nil && now.Sub(last.Value.(*swarm).announced) >= swarmTTL; last = t.recent.Back() {
		t.drop(last.Value.(*swarm), e)
	}
	client := a.m.socket.Client()
	s := &swarm{all: t, hash: a.hash, announced: now, remote: make(map[remotePeer]*peer), networks: make(map[netip.Prefix]int), isNew: true}
	t.byHash[a.hash], s.recent = s, t.recent.PushFront(s)
	t.owners.add(s, client)
	for len(t.byHash) > t.Swarms {
		t.Refusals.Add(meter.TrackerSwarms, client)
		t.drop(t.owners.next(), e)
	}
	e.swarm, e.begins = s, true
	time.AfterFunc(earlyFor, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, a := range s.early {
			t.InFlight.Give(a.m.socket.Client(), a.size)
		}
		s.early, s.isNew = nil, false
	})
}

func (t *swarms) drop(s *swarm, e *effects) {
	t.local -= s.here()
	t.recent.Remove(s.recent)
	t.owners.remove(s)
	delete(t.byHash, s.hash)
	s.dropped, s.peers, s.remote, s.named = true, nil, nil, shrink.Map[id, *peer]{}
	e.ended = append(e.ended, s)
}

// leave removes a client's peer, given its index in tracked, from its swarm.
func (t *swarms) leave(m *member, i int) {
	s, p := m.tracked[i].swarm, m.tracked[i].peer
	m.tracked = slices.Delete(m.tracked, i, i+1)
	t.do(func(e *effects) {
		if s.dropped || p.dropped {
			return
		}
		t.evict(s, p, e)
		if s.here() == 0 {
			t.drop(s, e)
		}
	})
}

// evict removes a peer of this server from its swarm.
func (t *swarms) evict(s *swarm, p *peer, e *effects) {
	s.remove(p)
	p.dropped = true
	t.local--
	if here, _ := s.find(p.id, nil); !here {
		e.swarm, e.messages = s, append(e.messages, append(t.message(gone), p.id[:]...))
	}
}

// leaveAll removes all peers of a client, whose connection has ended.
func (t *swarms) leaveAll(m *member) {
	for len(m.tracked) > 0 {
		t.leave(m, len(m.tracked)-1)
	}
	m.tracked = nil
}

// message returns the beginning of a message of this server.
func (t *swarms) message(kind byte) []byte { return append([]byte{kind}, t.server[:]...) }

func appendPeer(to []byte, p *peer) []byte {
	kind := byte('l')
	if p.seeder {
		kind = 's'
	}
	return append(append(to, kind), p.id[:]...)
}

// The methods below, except for Deliver and Missed, need t.mu.

func (s *swarm) topic() string { return topicPrefix + string(s.hash[:]) }

func (s *swarm) counts() counts { return counts{s.seeders, len(s.peers) - s.seeders} }

// here returns the number of peers at this server.
func (s *swarm) here() int { return len(s.peers) - len(s.remote) }

// list adds a message with the peers at this server.
func (s *swarm) list(kind byte, now time.Time, e *effects) {
	s.listed = now
	body, n := s.all.message(kind), 0
	for _, p := range s.peers {
		if p.member != nil && n < listMost {
			body = appendPeer(body, p)
			n++
		}
	}
	e.swarm, e.messages = s, append(e.messages, body)
}

// listPause returns the least time between two lists. A long list takes other servers longer
// than the message that asks for it.
func (s *swarm) listPause() time.Duration {
	return max(listEvery, time.Duration(min(s.here(), listMost))*time.Millisecond)
}

// listSoon lists the peers as soon as listPause allows, but not before it returns.
func (s *swarm) listSoon(kind byte) {
	if s.due != 0 {
		if kind == hello {
			s.due = hello
		}
		return
	}
	s.due = kind
	time.AfterFunc(max(0, s.listPause()-time.Since(s.listed)), func() {
		s.all.do(func(e *effects) {
			kind := s.due
			if s.due = 0; !s.dropped {
				s.list(kind, time.Now(), e)
			}
		})
	})
}

// relay passes on the offers and the answer of an announce.
func (s *swarm) relay(a *announce, now time.Time, e *effects) {
	s.sweep(now)
	for i := 0; i < len(s.peers) && len(a.offers) > 0; i++ {
		s.swap(i, i+rand.IntN(len(s.peers)-i))
		s.offer(a, s.peers[i], e)
	}
	if s.isNew && len(a.offers) > 0 && len(s.early) < earlyMost && s.all.InFlight.Take(a.m.socket.Client(), a.size) == nil {
		s.early = append(s.early, a)
	}
	if a.answer.body != nil {
		frame := a.relayed("answer", a.answer)
		// A peer at another server may be unknown here, for lack of room.
		if here, elsewhere := s.deliver(a.to, frame); elsewhere || !here {
			e.messages = append(e.messages, s.all.pass(a.to, frame))
		}
		s.all.relayed.Add(1)
	}
}

// offer passes the first offer of an announce on to a peer, unless it is the same peer.
func (s *swarm) offer(a *announce, p *peer, e *effects) {
	if p.id == a.peer {
		return
	}
	frame := a.relayed("offer", a.offers[0])
	if a.offers = a.offers[1:]; p.member != nil {
		p.member.answer(frame)
	} else {
		e.swarm, e.messages = s, append(e.messages, s.all.pass(p.id, frame))
	}
	s.all.relayed.Add(1)
}

// offerEarly passes the offers of early announces on to peers at other servers.
func (s *swarm) offerEarly(e *effects) {
	for _, a := range s.early {
		for _, p := range s.remote {
			if !p.met && len(a.offers) > 0 && s.all.Clients.Publish(a.m.socket.Client(), 1) == 0 {
				s.offer(a, p, e)
			}
		}
	}
	for _, p := range s.remote {
		p.met = true
	}
}

// pass returns a message that brings a frame to a peer at another server.
func (t *swarms) pass(to id, frame []byte) []byte {
	return append(append(t.message(passed), to[:]...), frame...)
}

// Deliver implements [inbox.Subscriber]: it handles a message of another server.
func (s *swarm) Deliver(p *inbox.Publication) {
	const head, size = 1 + len(serverID{}), len(id{})
	body := p.Body
	if len(body) < head+size || serverID(body[1:]) == s.all.server {
		return
	}
	kind, server, body := body[0], serverID(body[1:]), body[head:]
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if s.dropped {
		return
	}
	switch kind {
	case gone:
		s.forget(remotePeer{server, id(body)})
	case passed:
		s.deliver(id(body), body[size:])
	case hello, reply, present:
		now := time.Now()
		// If the swarm is new to both servers, only one of them passes early offers on: clients
		// whose offers cross may not connect.
		crossing := kind == hello && bytes.Compare(server[:], s.all.server[:]) < 0
		for ; len(body) > size; body = body[1+size:] {
			key := remotePeer{server, id(body[1:])}
			s.see(key, body[0] == 's', now)
			if p := s.remote[key]; p != nil && crossing {
				p.met = true
			}
		}
		if kind == hello {
			s.listSoon(reply)
		}
		if kind == reply && len(s.early) > 0 {
			time.AfterFunc(0, func() { s.all.do(s.offerEarly) }) // a Subscriber must not call Topics
		}
	}
}

// Missed implements [inbox.Subscriber].
func (s *swarm) Missed() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.listSoon(hello)
}
