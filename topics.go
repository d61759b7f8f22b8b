package inbox

import (
	"context"
	"errors"
	"sync"
)

// Topics deliver each publication to the current subscribers of its topic. They store
// nothing: an absent subscriber misses what is published.
//
// Several servers can share Topics. A publication then reaches the subscribers at all
// servers, once each. Package topicstest specifies, as tests, what each method must do.
// Implementations MUST be safe for concurrent use. No method waits for a subscriber or
// for another server.
type Topics interface {
	// Subscribe adds s to the subscribers of a topic at this server. A second call for
	// the same topic changes nothing. Once Subscribe has returned, s does not miss
	// replies to what it publishes, whichever server they come from. The returned name
	// equals topic and shares its memory with all subscribers, so keep it instead.
	//
	// Errors: ErrTopicName, ErrTopicFull.
	Subscribe(topic string, s Subscriber) (name string, err error)

	// Unsubscribe removes s from a topic. It does nothing if s is not subscribed.
	Unsubscribe(topic string, s Subscriber)

	// Subscribers returns the number of a topic's subscribers at this server.
	Subscribers(topic string) int

	// Publish delivers body to every subscriber of a topic, including the publisher if it
	// has subscribed. The caller MUST NOT change body afterwards. Publications by one
	// goroutine to one topic arrive in order. While servers that share Topics cannot
	// reach each other, the others miss the publication; see [Subscriber.Missed].
	//
	// Errors: ErrTopicName.
	Publish(topic string, body []byte) error

	// Run connects the servers that share Topics until ctx ends. Call it once.
	Run(ctx context.Context)
}

// A Subscriber receives the publications of its topics. Topics compare subscribers with
// ==, so a Subscriber is usually a pointer. Topics call its methods with a lock held:
// they MUST NOT block or call Topics.
type Subscriber interface {
	// Deliver delivers a publication. All subscribers of a server share p.
	Deliver(p *Publication)
	// Missed reports that publications may have been lost because the servers could not
	// reach each other for a while.
	Missed()
}

// A Publication is a published message, shared by the subscribers of one server.
type Publication struct {
	Topic       string
	Body        []byte // read-only
	Subscribers int    // of the topic at this server, at the time of publishing

	once sync.Once
	wire []byte
}

// Wire returns the wire form of p, as build returns it. It calls build only once and
// shares the result, so all subscribers must pass equivalent functions.
func (p *Publication) Wire(build func(p *Publication) []byte) []byte {
	p.once.Do(func() { p.wire = build(p) })
	return p.wire
}

// Errors returned by [Topics].
var (
	ErrTopicName = errors.New("the name of the topic is empty or too long")
	ErrTopicFull = errors.New("the topic has too many subscribers")
)

// TopicLimits bound Topics. A zero field means its default.
type TopicLimits struct {
	Name        int // bytes of a topic's name; default 512
	Subscribers int // per topic and server; default 1,000
}

// WithDefaults returns l with its zero fields set to their defaults.
func (l TopicLimits) WithDefaults() TopicLimits {
	if l.Name == 0 {
		l.Name = 512
	}
	if l.Subscribers == 0 {
		l.Subscribers = 1000
	}
	return l
}

// CheckTopic returns ErrTopicName unless the name has 1 to l.Name bytes.
func (l TopicLimits) CheckTopic(name string) error {
	if name == "" || len(name) > l.Name {
		return ErrTopicName
	}
	return nil
}
