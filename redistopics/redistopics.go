// Package redistopics lets servers share topics over Redis or Valkey.
//
// Each server keeps its subscribers in memory (memtopics) and delivers its own
// publications itself. It also publishes them on the topic's channel, which every server
// with subscribers has subscribed to: one subscription for each topic and server, by
// sharded pub/sub. The channel's name is a keyed hash, in the slot of one of 256
// partitions. Redis stores nothing.
//
// While Redis is unavailable, a publication reaches only the subscribers at its own server.
// When Redis is available again, subscribers are notified of the loss ([inbox.Subscriber.Missed]).
package redistopics

import (
	"context"
	"encoding/base64"
	"log/slog"
	"sync"
	"sync/atomic"

	"inbox"
	"inbox/internal/redislink"
	"inbox/memtopics"
)

// Config configures Topics. Zero fields mean the documented default.
type Config struct {
	Link *redislink.Link // required; the caller runs it
	// Key is the key of the [inbox.Pepper] that the servers share.
	Key    [inbox.PepperSize]byte
	Limits inbox.TopicLimits
	Log    *slog.Logger // logs lost connections; default: none
}

// Topics implement [inbox.Topics]. Make them with [New] and call Run.
type Topics struct {
	*memtopics.Topics
	link   *redislink.Link
	limits inbox.TopicLimits
	log    *slog.Logger
	names  *redislink.Hashes
	parts  []*part // one for each partition of a cluster, else one

	out     chan publication
	outSize atomic.Int64 // bytes of the bodies in out
	dropped atomic.Uint64
}

// A publication waits to be sent to the other servers.
type publication struct {
	part    *part
	channel string
	body    []byte
}

const (
	// outMost and outBytes bound the publications that wait for Redis. Both are roughly
	// what a busy server publishes in a second.
	outMost  = 16 << 10
	outBytes = 16 << 20
)

// New returns Topics without subscribers.
func New(c Config) *Topics {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Topics{
		Topics: memtopics.New(c.Limits), link: c.Link, limits: c.Limits.WithDefaults(), log: c.Log,
		names: redislink.NewHashes(c.Key, "redistopics: name"), out: make(chan publication, outMost),
	}
	for i := range c.Link.Parts() {
		t.parts = append(t.parts, newPart(t, i))
	}
	t.Began = func(topic string) {
		p, channel := t.place(topic)
		p.began(channel, topic)
	}
	t.Ended = func(topic string) {
		p, channel := t.place(topic)
		p.ended(channel)
	}
	return t
}

// place returns the part of Redis that serves a topic, and the topic's channel.
func (t *Topics) place(topic string) (*part, string) {
	sum := t.names.Of(topic)
	partition := sum[16]
	p := t.parts[0]
	if t.link.Cluster() {
		p = t.parts[partition]
	}
	return p, t.link.Prefix() + "{" + redislink.Tag(partition) + "}t:" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Publish implements [inbox.Topics].
func (t *Topics) Publish(topic string, body []byte) error {
	if err := t.limits.CheckTopic(topic); err != nil {
		return err
	}
	t.Deliver(topic, body)
	p, channel := t.place(topic)
	p.publish(channel, body)
	return nil
}

// Dropped returns the number of publications that did not reach other servers.
func (t *Topics) Dropped() uint64 { return t.dropped.Load() }

// Run implements [inbox.Topics].
func (t *Topics) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, p := range t.parts {
		running.Go(func() { p.run(ctx) })
	}
	running.Go(func() { t.send(ctx) })
	running.Wait()
}
