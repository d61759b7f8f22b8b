// Package memtopics keeps the topics of one server in memory.
//
// A topic exists as long as it has subscribers. Topics are spread over shards by the hash
// of their names. A shard's lock also orders the publications of a topic: every
// subscriber gets them in the same order.
package memtopics

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"inbox"
	"inbox/internal/shrink"
)

// Topics implement [inbox.Topics]. Make them with [New].
type Topics struct {
	limits inbox.TopicLimits
	seed   maphash.Seed
	shards [shards]shard

	topics        atomic.Int64 // topics with subscribers
	subscriptions atomic.Int64
	published     atomic.Uint64
	copies        atomic.Uint64

	// Began and Ended, if not nil, are called when a topic gets its first subscriber and
	// when it loses its last. The calls for one topic are in order, with a lock held: they
	// MUST NOT block or call Topics. Set them before the first use.
	Began, Ended func(topic string)
}

const shards = 64

type shard struct {
	mu     sync.Mutex // guards topics and their fields
	topics shrink.Map[string, *topic]
}

// A topic has at least one subscriber.
type topic struct {
	name        string
	subscribers []inbox.Subscriber
	places      shrink.Map[inbox.Subscriber, int] // index in subscribers plus one; empty while there are at most few
}

// few is the number of subscribers up to which a linear search is as fast as a map.
const few = 16

// New returns Topics without subscribers.
func New(l inbox.TopicLimits) *Topics {
	return &Topics{limits: l.WithDefaults(), seed: maphash.MakeSeed()}
}

// Run implements [inbox.Topics]. It only waits until ctx ends, since there is one server.
func (t *Topics) Run(ctx context.Context) { <-ctx.Done() }

func (t *Topics) shard(name string) *shard {
	return &t.shards[maphash.String(t.seed, name)%shards]
}

// Subscribe implements [inbox.Topics].
func (t *Topics) Subscribe(name string, s inbox.Subscriber) (kept string, err error) {
	if err := t.limits.CheckTopic(name); err != nil {
		return "", err
	}
	sh := t.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	to := sh.topics.Get(name)
	switch {
	case to == nil:
		to = &topic{name: strings.Clone(name)}
		sh.topics.Put(to.name, to)
		t.topics.Add(1)
		if t.Began != nil {
			t.Began(to.name)
		}
	case to.find(s) >= 0:
		return to.name, nil
	case len(to.subscribers) >= t.limits.Subscribers:
		return "", inbox.ErrTopicFull
	}
	to.add(s)
	t.subscriptions.Add(1)
	return to.name, nil
}

// Unsubscribe implements [inbox.Topics].
func (t *Topics) Unsubscribe(name string, s inbox.Subscriber) {
	sh := t.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	to := sh.topics.Get(name)
	if to == nil || !to.remove(s) {
		return
	}
	t.subscriptions.Add(-1)
	if len(to.subscribers) == 0 {
		sh.topics.Delete(name)
		t.topics.Add(-1)
		if t.Ended != nil {
			t.Ended(name)
		}
	}
}

// Subscribers implements [inbox.Topics].
func (t *Topics) Subscribers(name string) int {
	sh := t.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if to := sh.topics.Get(name); to != nil {
		return len(to.subscribers)
	}
	return 0
}

// Publish implements [inbox.Topics].
func (t *Topics) Publish(name string, body []byte) error {
	if err := t.limits.CheckTopic(name); err != nil {
		return err
	}
	t.Deliver(name, body)
	return nil
}

// Deliver delivers body to the subscribers at this server.
func (t *Topics) Deliver(name string, body []byte) {
	t.published.Add(1)
	sh := t.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	to := sh.topics.Get(name)
	if to == nil {
		return
	}
	p := &inbox.Publication{Topic: to.name, Body: body, Subscribers: len(to.subscribers)}
	for _, s := range to.subscribers {
		s.Deliver(p)
	}
	t.copies.Add(uint64(len(to.subscribers)))
}

// Missed notifies the subscribers of a topic that publications may have been lost.
func (t *Topics) Missed(name string) {
	sh := t.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if to := sh.topics.Get(name); to != nil {
		for _, s := range to.subscribers {
			s.Missed()
		}
	}
}

// Stats are the counts of one server.
type Stats struct {
	Topics        int64  // topics with subscribers
	Subscriptions int64  // subscriptions of all subscribers
	Publications  uint64 // publications since the start
	Copies        uint64 // deliveries to subscribers since the start
}

// Stats returns the counts of this server.
func (t *Topics) Stats() Stats {
	return Stats{
		Topics: t.topics.Load(), Subscriptions: t.subscriptions.Load(),
		Publications: t.published.Load(), Copies: t.copies.Load(),
	}
}

// find returns the index of a subscriber, or -1.
func (t *topic) find(s inbox.Subscriber) int {
	if t.places.Len() == 0 {
		return slices.Index(t.subscribers, s)
	}
	return t.places.Get(s) - 1
}

func (t *topic) add(s inbox.Subscriber) {
	t.subscribers = append(t.subscribers, s)
	n := len(t.subscribers)
	switch {
	case t.places.Len() > 0:
		t.places.Put(s, n)
	case n > few:
		for i, s := range t.subscribers {
			t.places.Put(s, i+1)
		}
	}
}

// remove removes a subscriber and reports whether it was there. The last subscriber moves
// to its index.
func (t *topic) remove(s inbox.Subscriber) bool {
	i := t.find(s)
	if i < 0 {
		return false
	}
	last := len(t.subscribers) - 1
	moved := t.subscribers[last]
	t.subscribers[i], t.subscribers[last] = moved, nil
	t.subscribers = t.subscribers[:last]
	if t.places.Len() > 0 {
		t.places.Put(moved, i+1)
		t.places.Delete(s)
	}
	if last > 0 && cap(t.subscribers) >= 4*few && last <= cap(t.subscribers)/4 {
		t.subscribers = slices.Clone(t.subscribers)
	}
	return true
}
