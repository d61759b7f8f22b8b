package redistopics

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"inbox/internal/redislink"
	"inbox/internal/shrink"
)

const (
	// subscribeBatch bounds the channels of one command.
	subscribeBatch   = 200
	subscribeTimeout = 3 * time.Second

	// probeEvery is the interval between probes of a subscribed connection. A connection
	// without a message for deafAfter is replaced.
	probeEvery = 3 * time.Second
	deafAfter  = 2*probeEvery + time.Second

	// idleFor is how long a connection to a part without topics stays open.
	idleFor = 30 * time.Second

	// waitingMost and waitingBytes bound the publications of one topic that wait until
	// Redis has confirmed its subscription, which takes a round trip.
	waitingMost  = 64
	waitingBytes = 256 << 10
)

// A part is the subscribed connection to one part of Redis: to all of it, or to one
// partition of a cluster.
type part struct {
	topics  *Topics
	number  int
	probe   string        // the channel of this server's own probes
	changed chan struct{} // signals that begins or ends is not empty
	heard   atomic.Int64  // when the last message arrived, in Unix nanoseconds

	mu       sync.Mutex // guards the fields below
	channels shrink.Map[string, *channel]
	begins   []string // channels to subscribe to
	ends     []string // channels to unsubscribe from
	missed   bool     // publications were lost since Missed was last called
}

// A channel belongs to a topic with subscribers at this server.
type channel struct {
	topic     string
	confirmed bool     // Redis has answered the subscription
	waiting   [][]byte // publications to send when it is confirmed
	bytes     int      // of waiting
}

func newPart(t *Topics, number int) *part {
	return &part{
		topics: t, number: number, changed: make(chan struct{}, 1),
		probe: t.link.Prefix() + "{" + redislink.Tag(uint8(number)) + "}t:" + t.link.Server(),
	}
}

func (p *part) change() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// began schedules a subscription to a channel.
func (p *part) began(name, topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.channels.Put(name, &channel{topic: topic})
	p.begins = append(p.begins, name)
	p.change()
}

// ended schedules the end of a subscription, and sends the publications that waited for it.
func (p *part) ended(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.channels.Get(name); c != nil {
		p.flushLocked(name, c)
	}
	p.channels.Delete(name)
	p.ends = append(p.ends, name)
	p.change()
}

// publish sends a publication to the other servers. If this server is still subscribing to
// the topic, the publication waits, so that the replies to it are not missed.
func (p *part) publish(name string, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.channels.Get(name)
	switch {
	case c == nil || c.confirmed:
		p.enqueueLocked(name, body)
	case len(c.waiting) < waitingMost && c.bytes+len(body) <= waitingBytes:
		c.waiting = append(c.waiting, body)
		c.bytes += len(body)
	default:
		p.dropLocked(1)
	}
}

func (p *part) flushLocked(name string, c *channel) {
	for _, body := range c.waiting {
		p.enqueueLocked(name, body)
	}
	c.waiting, c.bytes = nil, 0
}

// run keeps a connection open while there are topics, until ctx ends.
func (p *part) run(ctx context.Context) {
	const shortest = 20 * time.Millisecond
	pause := shortest
	for {
		select {
		case <-p.changed:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			subscribed, err := p.listen(ctx)
			if err == nil {
				break // no topic is left
			}
			p.lose()
			if subscribed {
				pause = shortest
			}
			if ctx.Err() == nil {
				p.topics.log.Debug("no publications of other servers arrive, reconnecting", "part", p.number, "error", err)
			}
			select {
			case <-time.After(pause/2 + rand.N(pause)):
			case <-ctx.Done():
			}
			pause = min(2*pause, time.Second)
		}
	}
}

// lose records that the connection has ended and publications of other servers are lost.
func (p *part) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missed = p.missed || p.channels.Len() > 0
	for _, c := range p.channels.All() {
		if c.confirmed = false; len(c.waiting) > 0 {
			p.dropLocked(len(c.waiting))
			c.waiting, c.bytes = nil, 0
		}
	}
}

var (
	errDeaf  = errors.New("the connection receives nothing, not even probes")
	errMoved = errors.New("redis has moved the slot")
	errEnded = errors.New("the connection has ended")
)

// listen connects and subscribes to all channels. It returns an error when the connection
// is lost, and nil when there has been no topic for idleFor.
func (p *part) listen(ctx context.Context) (subscribed bool, err error) {
	c, release := p.topics.link.Subscriptions().Dedicate()
	defer release()
	defer c.Close()
	moved := make(chan struct{}, 1)
	var leaving sync.Map // channels to which this server ends its subscription
	lost := c.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: p.receive,
		OnSubscription: func(s rueidis.PubSubSubscription) {
			if s.Kind != "sunsubscribe" {
				return
			}
			if _, ours := leaving.LoadAndDelete(s.Channel); !ours {
				select {
				case moved <- struct{}{}:
				default:
				}
			}
		},
	})
	if err := p.subscribe(ctx, c, []string{p.probe}); err != nil {
		return false, err
	}
	p.heard.Store(time.Now().UnixNano())
	p.restart()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	idle := time.Time{}
	for {
		begins, ends, topics := p.take()
		if err := p.subscribe(ctx, c, begins); err != nil {
			return subscribed, err
		}
		subscribed = true
		for _, name := range ends {
			leaving.Store(name, true)
		}
		if len(ends) > 0 {
			if err := do(ctx, c, c.B().Sunsubscribe().Channel(ends...).Build()); err != nil {
				return true, err
			}
		}
		if len(begins) > 0 || len(ends) > 0 {
			continue
		}
		p.settle() // all channels are subscribed
		switch {
		case topics > 0:
			idle = time.Time{}
		case idle.IsZero():
			idle = time.Now()
		case time.Since(idle) > idleFor:
			return true, nil
		}
		select {
		case <-p.changed:
		case <-moved:
			return true, errMoved
		case err := <-lost:
			if err == nil {
				err = errEnded
			}
			return true, err
		case <-tick.C:
			if time.Since(time.Unix(0, p.heard.Load())) > deafAfter {
				return true, errDeaf
			}
			go p.try(ctx)
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
}

func do(ctx context.Context, c rueidis.DedicatedClient, command rueidis.Completed) error {
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	return c.Do(ctx, command).Error()
}

// subscribe subscribes to channels and sends the publications that waited for that.
func (p *part) subscribe(ctx context.Context, c rueidis.DedicatedClient, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := do(ctx, c, c.B().Ssubscribe().Channel(names...).Build()); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		if c := p.channels.Get(name); c != nil {
			c.confirmed = true
			p.flushLocked(name, c)
		}
	}
	return nil
}

// restart makes take return all channels, for a new connection.
func (p *part) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begins, p.ends = nil, nil
	for name := range p.channels.All() {
		p.begins = append(p.begins, name)
	}
}

// take returns channels to subscribe to and to unsubscribe from, and the number of topics.
// A channel that began and ended in between is in neither list.
func (p *part) take() (begins, ends []string, topics int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(begins) < subscribeBatch && len(p.begins) > 0 {
		name := p.begins[0]
		p.begins = p.begins[1:]
		if c := p.channels.Get(name); c != nil && !c.confirmed {
			begins = append(begins, name)
		}
	}
	for len(p.begins) == 0 && len(ends) < subscribeBatch && len(p.ends) > 0 {
		name := p.ends[0]
		p.ends = p.ends[1:]
		if p.channels.Get(name) == nil {
			ends = append(ends, name)
		}
	}
	if len(p.begins) == 0 {
		p.begins = nil
	}
	if len(p.ends) == 0 {
		p.ends = nil
	}
	return begins, ends, p.channels.Len()
}

// settle notifies the subscribers of this part if publications were lost. The caller has
// subscribed to all channels again, so that no more are lost.
func (p *part) settle() {
	p.mu.Lock()
	if !p.missed || p.topics.link.Part(uint8(p.number)).Down() {
		p.mu.Unlock()
		return
	}
	p.missed = false
	topics := make([]string, 0, p.channels.Len())
	for _, c := range p.channels.All() {
		topics = append(topics, c.topic)
	}
	p.mu.Unlock() // the lock order is shard, then part, as in Began and Ended
	for _, topic := range topics {
		p.topics.Missed(topic)
	}
}

// receive handles a message. It does not block.
func (p *part) receive(m rueidis.PubSubMessage) {
	p.heard.Store(time.Now().UnixNano())
	server := p.topics.link.Server()
	if len(m.Message) < len(server) || m.Message[:len(server)] == server {
		return // this server has delivered its own publications already
	}
	p.mu.Lock()
	c := p.channels.Get(m.Channel)
	p.mu.Unlock()
	if c != nil {
		p.topics.Deliver(c.topic, []byte(m.Message[len(server):]))
	}
}

// try publishes a probe, which only this server receives.
func (p *part) try(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	c := p.topics.link.Client()
	if c.Do(ctx, c.B().Spublish().Channel(p.probe).Message(p.topics.link.Server()).Build()).Error() != nil {
		p.topics.link.Doubt()
	}
}
