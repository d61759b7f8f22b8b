// Package topicstest specifies what [inbox.Topics] must do, as tests that every
// implementation runs.
package topicstest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"inbox"
)

// Open returns the Topics of one or more servers that share them. They run until the test
// ends.
type Open func(t *testing.T, l inbox.TopicLimits) []inbox.Topics

// Run runs every case.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name   string
		limits inbox.TopicLimits
		test   func(*suite)
	}{
		{"each subscriber gets each publication once", inbox.TopicLimits{}, (*suite).everyone},
		{"publications arrive in order", inbox.TopicLimits{}, (*suite).order},
		{"an absent subscriber misses publications", inbox.TopicLimits{}, (*suite).absent},
		{"unsubscribing ends the deliveries", inbox.TopicLimits{}, (*suite).unsubscribe},
		{"a second subscription changes nothing", inbox.TopicLimits{}, (*suite).twice},
		{"a topic has a maximum of subscribers", inbox.TopicLimits{Subscribers: 40}, (*suite).full},
		{"names have 1 to 512 bytes of any value", inbox.TopicLimits{}, (*suite).names},
		{"bodies arrive unchanged", inbox.TopicLimits{}, (*suite).bodies},
		{"topics are separate", inbox.TopicLimits{}, (*suite).apart},
		{"an answer reaches a client that has just subscribed", inbox.TopicLimits{}, (*suite).answers},
		{"subscribers of one server share what they send", inbox.TopicLimits{}, (*suite).wire},
		{"subscribers may come and go while others publish", inbox.TopicLimits{}, (*suite).comeAndGo},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(&suite{T: t, servers: open(t, c.limits)})
		})
	}
}

type suite struct {
	*testing.T
	servers []inbox.Topics
}

// A Listener is a subscriber that records its publications. Its methods are safe for
// concurrent use.
type Listener struct {
	mu     sync.Mutex
	got    []*inbox.Publication
	missed int
}

// Deliver implements [inbox.Subscriber].
func (l *Listener) Deliver(p *inbox.Publication) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, p)
}

// Missed implements [inbox.Subscriber].
func (l *Listener) Missed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missed++
}

// Losses returns the number of calls of Missed.
func (l *Listener) Losses() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missed
}

// Bodies returns the bodies of the publications so far, without those of Reach.
func (l *Listener) Bodies() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, p := range l.got {
		if !bytes.HasPrefix(p.Body, []byte(reaching)) {
			all = append(all, string(p.Body))
		}
	}
	return all
}

func (l *Listener) has(body string) bool { return l.find(body) != nil }

// find returns the publication with this body, or nil. Those of Reach can still arrive,
// so tests do not access l.got.
func (l *Listener) find(body string) *inbox.Publication {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.got {
		if string(p.Body) == body {
			return p
		}
	}
	return nil
}

const reaching = "reach "

// Reach publishes at a server until the listeners at others get it. A subscription takes a
// moment to become known at other servers.
func Reach(tb testing.TB, at inbox.Topics, topic string, listeners ...*Listener) {
	tb.Helper()
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		body := reaching + fmt.Sprint(rand.Uint64())
		if err := at.Publish(topic, []byte(body)); err != nil {
			tb.Fatal(err)
		}
		for wait := time.Now(); time.Since(wait) < time.Second; time.Sleep(time.Millisecond) {
			if !slices.ContainsFunc(listeners, func(l *Listener) bool { return !l.has(body) }) {
				return
			}
		}
		if time.Since(begin) > time.Minute {
			tb.Fatalf("publications in %q do not reach their subscribers", topic)
		}
	}
}

func (s *suite) subscribe(at inbox.Topics, topic string, l inbox.Subscriber) {
	s.Helper()
	if name, err := at.Subscribe(topic, l); err != nil || name != topic {
		s.Fatalf("Subscribe(%q) = %q, %v", topic, name, err)
	}
}

func (s *suite) publish(at inbox.Topics, topic, body string) {
	s.Helper()
	if err := at.Publish(topic, []byte(body)); err != nil {
		s.Fatal(err)
	}
}

// want waits until a listener has these bodies, and fails if it gets others.
func (s *suite) want(l *Listener, bodies ...string) {
	s.Helper()
	var got []string
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(time.Millisecond) {
		if got = l.Bodies(); len(got) >= len(bodies) {
			break
		}
	}
	if !slices.Equal(got, bodies) {
		s.Fatalf("got %.300q, want %.300q", got, bodies)
	}
}

// listen subscribes a listener at each server.
func (s *suite) listen(topic string) []*Listener {
	s.Helper()
	var all []*Listener
	for _, at := range s.servers {
		l := new(Listener)
		s.subscribe(at, topic, l)
		all = append(all, l)
	}
	for _, at := range s.servers {
		Reach(s, at, topic, all...)
	}
	return all
}

// passed waits until everything published so far has arrived at all servers.
func (s *suite) passed(topic string) {
	s.Helper()
	for _, l := range s.listen(topic) {
		for _, at := range s.servers {
			at.Unsubscribe(topic, l)
		}
	}
}

func (s *suite) everyone() {
	listeners := append(s.listen("room"), s.listen("room")...)
	var want []string
	for i, at := range s.servers {
		body := fmt.Sprint("hello from ", i)
		s.publish(at, "room", body)
		want = append(want, body)
		Reach(s, at, "room", listeners...) // so that the servers know all subscriptions
	}
	for _, l := range listeners {
		s.want(l, want...)
	}
	s.publish(s.servers[0], "room", "count")
	for _, l := range listeners {
		s.want(l, append(slices.Clone(want), "count")...)
		if n := l.find("count").Subscribers; n != 2 {
			s.Errorf("a publication counts %d subscribers at a server with 2", n)
		}
	}
	for i, at := range s.servers {
		if n := at.Subscribers("room"); n != 2 {
			s.Errorf("server %d counts %d subscribers, want 2", i, n)
		}
	}
}

func (s *suite) order() {
	listeners := s.listen("room")
	var want []string
	for i := range 500 {
		body := fmt.Sprint(i)
		s.publish(s.servers[0], "room", body)
		want = append(want, body)
	}
	for _, l := range listeners {
		s.want(l, want...)
	}
}

func (s *suite) absent() {
	for _, at := range s.servers {
		s.publish(at, "room", "nobody is here")
	}
	// A server may still be sending it, in a batch with others. Batches are in order: when
	// two later publications have arrived one after the other, it has arrived, too.
	for range 2 {
		s.passed("another")
	}
	for _, l := range s.listen("room") {
		s.want(l)
	}
}

func (s *suite) unsubscribe() {
	listeners := s.listen("room")
	left := listeners[0]
	s.servers[0].Unsubscribe("room", left)
	s.servers[0].Unsubscribe("room", left)
	s.servers[0].Unsubscribe("another", left)
	for _, at := range s.servers {
		s.publish(at, "room", "after it left")
	}
	s.passed("room")
	s.want(left)
	for _, l := range listeners[1:] {
		s.want(l, slices.Repeat([]string{"after it left"}, len(s.servers))...)
	}
	if n := s.servers[0].Subscribers("room"); n != 0 {
		s.Errorf("the topic has %d subscribers, want none", n)
	}
}

func (s *suite) twice() {
	l := s.listen("room")[0]
	s.subscribe(s.servers[0], "room", l)
	s.publish(s.servers[0], "room", "once")
	s.passed("room")
	s.want(l, "once")
	s.servers[0].Unsubscribe("room", l)
	if n := s.servers[0].Subscribers("room"); n != 0 {
		s.Errorf("the topic has %d subscribers after one Unsubscribe, want none", n)
	}
}

func (s *suite) full() {
	at := s.servers[0]
	all := make([]*Listener, 40)
	for i := range all {
		all[i] = new(Listener)
		s.subscribe(at, "room", all[i])
	}
	late := new(Listener)
	if _, err := at.Subscribe("room", late); !errors.Is(err, inbox.ErrTopicFull) {
		s.Errorf("the 41st subscriber: %v, want %v", err, inbox.ErrTopicFull)
	}
	s.subscribe(at, "room", all[0]) // it has subscribed already
	s.subscribe(at, "another", late)
	// They unsubscribe in any order.
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i, l := range all {
		at.Unsubscribe("room", l)
		if n := at.Subscribers("room"); n != len(all)-1-i {
			s.Fatalf("%d subscribers after %d have left", n, i+1)
		}
	}
	s.subscribe(at, "room", late)
}

func (s *suite) names() {
	at := s.servers[0]
	l := new(Listener)
	for _, name := range []string{"", strings.Repeat("x", 513)} {
		if _, err := at.Subscribe(name, l); !errors.Is(err, inbox.ErrTopicName) {
			s.Errorf("Subscribe of a name with %d bytes: %v", len(name), err)
		}
		if err := at.Publish(name, nil); !errors.Is(err, inbox.ErrTopicName) {
			s.Errorf("Publish in a name with %d bytes: %v", len(name), err)
		}
		at.Unsubscribe(name, l)
	}
	for _, name := range []string{strings.Repeat("x", 512), "{}", "{a}b", "\x00\xff\n*", "räume", " "} {
		listeners := s.listen(name)
		s.publish(at, name, "hello")
		for _, l := range listeners {
			s.want(l, "hello")
			if topic := l.find("hello").Topic; topic != name {
				s.Errorf("the topic is %q, want %q", topic, name)
			}
		}
	}
}

func (s *suite) bodies() {
	listeners := s.listen("room")
	bodies := []string{"", "\x00\xff", strings.Repeat("0123456789abcdef", 256<<10/16)}
	for _, body := range bodies {
		s.publish(s.servers[0], "room", body)
	}
	for _, l := range listeners {
		s.want(l, bodies...)
	}
}

func (s *suite) apart() {
	one, two := s.listen("one"), s.listen("two")
	for _, at := range s.servers {
		s.publish(at, "one", "1")
		s.publish(at, "two", "2")
	}
	for i := range s.servers {
		s.want(one[i], slices.Repeat([]string{"1"}, len(s.servers))...)
		s.want(two[i], slices.Repeat([]string{"2"}, len(s.servers))...)
	}
}

// A responder answers publications in its topic, as a peer answers a newcomer.
type responder struct {
	at inbox.Topics
	ch chan string
}

func (r *responder) Deliver(p *inbox.Publication) {
	if q, ok := strings.CutPrefix(string(p.Body), "question "); ok {
		r.ch <- q
	}
}
func (r *responder) Missed() {}

func (s *suite) answers() {
	last := s.servers[len(s.servers)-1]
	for i := range 50 {
		topic := fmt.Sprint("room ", i)
		r := &responder{s.servers[0], make(chan string, 10)}
		s.subscribe(s.servers[0], topic, r)
		known := new(Listener) // once this one is reached, the responder is too
		s.subscribe(s.servers[0], topic, known)
		Reach(s, last, topic, known)

		newcomer := new(Listener)
		s.subscribe(last, topic, newcomer)
		s.publish(last, topic, "question 1")
		s.publish(s.servers[0], topic, "answer to "+<-r.ch)
		for begin := time.Now(); !newcomer.has("answer to 1"); time.Sleep(time.Millisecond) {
			if time.Since(begin) > 10*time.Second {
				s.Fatalf("round %d: the answer did not arrive: %q", i, newcomer.Bodies())
			}
		}
	}
}

func (s *suite) wire() {
	at := s.servers[0]
	a, b := new(Listener), new(Listener)
	s.subscribe(at, "room", a)
	s.subscribe(at, "room", b)
	s.publish(at, "room", "hello")
	builds := 0
	build := func(p *inbox.Publication) []byte {
		builds++
		return append([]byte("wire "), p.Body...)
	}
	for _, l := range []*Listener{a, b} {
		s.want(l, "hello")
		if wire := string(l.find("hello").Wire(build)); wire != "wire hello" {
			s.Errorf("the wire form is %q", wire)
		}
	}
	if builds != 1 {
		s.Errorf("the wire form was built %d times, want once", builds)
	}
}

// comeAndGo makes subscribers come and go while others publish. Subscribers that stay get
// everything, in the order of each publisher.
func (s *suite) comeAndGo() {
	const topics, publications = 5, 100
	topic := func(i int) string { return fmt.Sprint("room ", i%topics) }
	var stay [topics][]*Listener
	for i := range topics {
		stay[i] = s.listen(topic(i))
	}
	var going sync.WaitGroup
	for n, at := range s.servers {
		for g := range 4 {
			going.Go(func() {
				l := new(Listener)
				for i := range 200 {
					if _, err := at.Subscribe(topic(i+g), l); err != nil {
						s.Error(err)
					}
					at.Unsubscribe(topic(i+g), l)
				}
			})
		}
		going.Go(func() {
			for i := range publications {
				for k := range topics {
					if err := at.Publish(topic(k), fmt.Appendf(nil, "%d %d", n, i)); err != nil {
						s.Error(err)
					}
				}
			}
		})
	}
	going.Wait()
	for i := range topics {
		for _, l := range stay[i] {
			for begin := time.Now(); len(l.Bodies()) < publications*len(s.servers) && time.Since(begin) < time.Minute; {
				time.Sleep(time.Millisecond)
			}
			var next [10]int
			for _, body := range l.Bodies() {
				var n, i int
				fmt.Sscan(body, &n, &i)
				if i != next[n] {
					s.Fatalf("got publication %d of server %d, want %d", i, n, next[n])
				}
				next[n]++
			}
			for n := range s.servers {
				if next[n] != publications {
					s.Fatalf("got %d publications of server %d, want %d", next[n], n, publications)
				}
			}
		}
		for n, at := range s.servers {
			if got := at.Subscribers(topic(i)); got != 1 {
				s.Errorf("%d subscribers at server %d, want 1", got, n)
			}
		}
	}
}
