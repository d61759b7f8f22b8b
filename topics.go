package inbox

import (
	"context"
	"errors"
	"sync"
)

// Topics pass each publication on to those who have subscribed to its topic by then. They
// keep nothing for anybody else: a subscriber that is absent misses what is published.
//
// Several servers can share Topics. A publication then reaches the subscribers at all of
// them, once each. Package topicstest specifies, as tests, what each method must do.
// Implementations MUST be safe for concurrent use. No method waits for a subscriber or
// for another server.
type Topics interface {
	// Subscribe adds s to the subscribers of a topic at this server. A second call for
	// the same topic changes nothing. Answers to what s publishes afterwards in the topic
	// reach s, from whichever server. name is the topic's name in the memory of Topics:
	// subscribers that keep it share that memory.
	//
	// Errors: ErrTopicName, ErrTopicFull.
	Subscribe(topic string, s Subscriber) (name string, err error)

	// Unsubscribe removes s from a topic. It need not be subscribed.
	Unsubscribe(topic string, s Subscriber)

	// Subscribers returns how many subscribers a topic has at this server.
	Subscribers(topic string) int

	// Publish passes body on to every subscriber of a topic, the publisher included if it
	// has subscribed. The caller MUST NOT change body afterwards. Publications of one
	// goroutine to one topic arrive in order. Where servers share Topics, a publication
	// is lost to the other servers while they cannot be reached: see [Subscriber.Missed].
	//
	// Errors: ErrTopicName.
	Publish(topic string, body []byte) error

	// Run connects the servers that share Topics until ctx ends. Call it once.
	Run(ctx context.Context)
}

// A Subscriber receives the publications of its topics. It is compared with ==, so it is
// usually a pointer. Its methods are called under a lock: they MUST NOT block, nor call
// Topics.
type Subscriber interface {
	// Deliver hands over a publication. All subscribers of a server share p.
	Deliver(p *Publication)
	// Missed reports that publications may have been lost, because the servers could not
	// reach each other for a while.
	Missed()
}

// A Publication is what Topics pass on, as the subscribers of one server share it.
type Publication struct {
	Topic       string
	Body        []byte // not to be written to
	Subscribers int    // of the topic at this server, when it was published

	once sync.Once
	wire []byte
}

// Wire returns what build makes of p. It calls build once for all subscribers, which must
// therefore pass functions that make the same of it.
func (p *Publication) Wire(build func(p *Publication) []byte) []byte {
	p.once.Do(func() { p.wire = build(p) })
	return p.wire
}

// The errors of Topics.
var (
	ErrTopicName = errors.New("the name of the topic is empty or too long")
	ErrTopicFull = errors.New("the topic has as many subscribers as it may")
)

// TopicLimits bound Topics. A zero field means its default.
type TopicLimits struct {
	Name        int // bytes of a topic's name; 512
	Subscribers int // of one topic at one server; 1,000
}

// WithDefaults returns l with its zero fields set.
func (l TopicLimits) WithDefaults() TopicLimits {
	if l.Name == 0 {
		l.Name = 512
	}
	if l.Subscribers == 0 {
		l.Subscribers = 1000
	}
	return l
}

// CheckTopic returns ErrTopicName unless a name has 1 to l.Name bytes.
func (l TopicLimits) CheckTopic(name string) error {
	if name == "" || len(name) > l.Name {
		return ErrTopicName
	}
	return nil
}
