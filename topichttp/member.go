package topichttp

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"inbox"
	"inbox/internal/gate"
	"inbox/internal/meter"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

const (
	// queueCost is the overhead of a queued publication, in bytes.
	queueCost = 64
	// queueFree is the part of a queue that does not count as in flight, in bytes. All
	// subscribers share these bytes, and they are written within moments.
	queueFree = 16 << 10
	// subscriptionCost is the memory of a subscription, or of a peer in a swarm, in bytes. The
	// name of a topic adds to it. A connection can have subscriptionsFree bytes of them. Beyond
	// that they count as in flight: one address can have 2,000 connections, and each of them
	// 200 topics.
	subscriptionCost  = 200
	subscriptionsFree = 8 << 10
	// resubscribeWithin spreads the ends of connections after publications were lost.
	resubscribeWithin = 2 * time.Second
)

// Reasons for which the server ends a connection.
var (
	errSlow   = errors.New("the client does not read its messages")
	errMissed = errors.New("messages may have been lost: subscribe again")
)

// A member is a connection of one client, and a subscriber of its topics.
type member struct {
	h        *Handler
	kind     *kind
	socket   *socket.Socket // set by the first Look
	since    time.Time
	admitted bool
	topics   []string    // subscribed topics, with the kind's prefix
	tracked  []tracked   // the client's peers in swarms
	holds    int         // bytes of topics and tracked
	waiting  publication // waits for --limit-copies
	kept     int         // bytes of waiting, which count as in flight
	ends     time.Time   // when the connection ends for why
	why      error
	drain    *gate.Drain // the drain that ends was taken from
	wait     meter.Wait

	mu     sync.Mutex // guards the fields below
	queue  []*inbox.Publication
	queued int  // bytes of queue
	behind bool // the client has not read all that was written
	slow   bool // the queue was full at least once
	missed bool
}

// A publication is a message that a client has sent.
type publication interface {
	copies() int           // deliveries to expect
	bytes() int            // memory that it keeps
	publish() (status int) // as in HTTP
}

// topical is a publication to a topic.
type topical struct {
	m     *member
	topic string
	body  []byte
}

func (p *topical) copies() int { return p.m.h.Topics.Subscribers(p.topic) }

func (p *topical) bytes() int { return len(p.body) }

func (p *topical) publish() (status int) {
	if err := p.m.h.Topics.Publish(p.topic, p.body); err != nil {
		p.m.h.Refusals.Add(meter.BadTopic, p.m.socket.Client())
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// Deliver implements [inbox.Subscriber].
func (m *member) Deliver(p *inbox.Publication) {
	size := len(p.Wire(m.kind.wire)) + queueCost
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.slow && !m.kind.patient {
		return // the connection is about to end
	}
	most := m.h.Queue
	if !m.behind {
		most *= 2 // it is the server that is late
	}
	if m.queued+size > most || m.charge(m.queued+size) != nil {
		m.h.dropped.Add(1)
		m.h.Refusals.Add(meter.SlowSubscriber, m.socket.Client())
		if !m.kind.patient {
			m.slow = true
			m.clear()
			m.socket.Wake()
		}
		return
	}
	m.queued += size
	m.queue = append(m.queue, p)
	if len(m.queue) == 1 {
		m.socket.Wake()
	}
}

// charge changes the bytes in flight from those of the present queue to those of a queue
// of the given size. The caller holds the lock.
func (m *member) charge(size int) error {
	n := max(0, size-queueFree) - max(0, m.queued-queueFree)
	switch {
	case n > 0:
		return m.h.InFlight.Take(m.socket.Client(), n)
	case n < 0:
		m.h.InFlight.Give(m.socket.Client(), -n)
	}
	return nil
}

// clear empties the queue. The caller holds the lock.
func (m *member) clear() {
	_ = m.charge(0) // cannot fail: it only gives bytes back
	m.queue, m.queued = nil, 0
}

// next takes a publication from the queue. It returns nil if the queue is empty, or if the client
// has to read first.
func (m *member) next() *inbox.Publication {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.behind = m.socket.Behind(); m.behind || len(m.queue) == 0 {
		return nil
	}
	p := m.queue[0]
	m.queue[0] = nil
	left := m.queued - len(p.Wire(m.kind.wire)) - queueCost
	_ = m.charge(left) // cannot fail: it only gives bytes back
	m.queued = left
	if m.queue = m.queue[1:]; len(m.queue) == 0 {
		m.queue = nil
	}
	return p
}

// Missed implements [inbox.Subscriber].
func (m *member) Missed() {
	if m.kind.patient {
		return // its client announces itself every few seconds anyway
	}
	m.mu.Lock()
	m.missed = true
	m.mu.Unlock()
	m.socket.Wake()
}

// Look implements [socket.Protocol]: it writes the queue.
func (m *member) Look(s *socket.Socket, now time.Time) error {
	if m.socket == nil {
		m.socket, m.since = s, now
	}
	if !m.admitted {
		if err := m.admit(s, now); err != nil || !m.admitted {
			return err
		}
	}
	m.mu.Lock()
	slow, missed := m.slow, m.missed
	m.missed = false
	m.mu.Unlock()
	if slow && !m.kind.patient {
		return errSlow
	}
	if missed {
		m.endBy(now.Add(rand.N(resubscribeWithin)), errMissed)
	}
	for p := m.next(); p != nil; p = m.next() {
		wire := p.Wire(m.kind.wire)
		if err := s.Send(func(to []byte) []byte { return append(to, wire...) }); err != nil {
			return err
		}
	}
	again := m.publishWaiting(s, now)
	if d := m.kind.gate.Draining(); d != m.drain {
		m.drain = d
		m.endBy(d.Moment(), inbox.ErrDraining)
	}
	if m.why != nil && !now.Before(m.ends) {
		return m.why
	}
	m.lookAgain(s, again)
	return nil
}

// lookAgain schedules the next Look at the given time, or at the end of the connection if
// that is earlier. The zero time means no time.
func (m *member) lookAgain(s *socket.Socket, at time.Time) {
	if m.why != nil && (at.IsZero() || m.ends.Before(at)) {
		at = m.ends
	}
	s.LookAgain(at)
}

// admit counts the connection as a request. While its address makes too many, the
// connection waits, and the server reads nothing from it.
func (m *member) admit(s *socket.Socket, now time.Time) error {
	err := m.h.Clients.Request(s.Client())
	if err == nil {
		m.admitted = true
		m.wait.Begin(m.h.Meter, m.kind.gate.Transport)
		if now.After(m.since) { // it has waited
			s.Pause(now)
			s.Wake()
		}
		return nil
	}
	if err = m.kind.gate.Delay(s, m.since, now, err); err == nil {
		s.Pause(now.Add(admitPause))
	}
	return err
}

// admitPause is longer than the wait to be admitted. The Look that admits a client ends
// the pause.
const admitPause = time.Minute

// Message implements [socket.Protocol].
func (m *member) Message(s *socket.Socket, now time.Time, text []byte) error {
	return m.kind.message(m, s, now, text)
}

// odd counts a frame that publishes nothing against the limits of its address. Clients
// ignore errors, so invalid frames get no answer.
func (m *member) odd(s *socket.Socket) error { return m.h.Clients.Frame(s.Client()) }

// subscribe subscribes to a topic, unless a limit is reached.
func (m *member) subscribe(name string) {
	topic := m.kind.prefix + name
	if slices.Contains(m.topics, topic) {
		return
	}
	if len(m.topics) >= m.h.PerConnection {
		m.h.Refusals.Add(meter.TopicsOfClient, m.socket.Client())
		return
	}
	cost := len(topic) + subscriptionCost
	if m.hold(m.holds+cost) != nil {
		m.h.Refusals.Add(meter.TopicsOfClient, m.socket.Client())
		return
	}
	kept, err := m.h.Topics.Subscribe(topic, m)
	if err != nil {
		_ = m.hold(m.holds - cost) // cannot fail: it only gives bytes back
	}
	switch {
	case errors.Is(err, inbox.ErrTopicFull):
		m.h.Refusals.Add(meter.TopicSubscribers, m.socket.Client())
	case err != nil:
		m.h.Refusals.Add(meter.BadTopic, m.socket.Client())
	default:
		m.topics = append(m.topics, kept)
	}
}

// hold changes the bytes of topics and tracked.
func (m *member) hold(size int) error {
	n := max(0, size-subscriptionsFree) - max(0, m.holds-subscriptionsFree)
	switch {
	case n > 0:
		if err := m.h.InFlight.Take(m.socket.Client(), n); err != nil {
			return err
		}
	case n < 0:
		m.h.InFlight.Give(m.socket.Client(), -n)
	}
	m.holds = size
	return nil
}

func (m *member) unsubscribe(name string) {
	topic := m.kind.prefix + name
	if i := slices.Index(m.topics, topic); i >= 0 {
		m.topics = slices.Delete(m.topics, i, i+1)
		_ = m.hold(m.holds - len(topic) - subscriptionCost) // cannot fail
		m.h.Topics.Unsubscribe(topic, m)
	}
}

// publish publishes body to a topic, as send does.
func (m *member) publish(s *socket.Socket, now time.Time, name string, body []byte) error {
	return m.send(s, now, &topical{m, m.kind.prefix + name, body})
}

// send publishes p, or keeps it until the copies of its address allow it. It fails if too
// much is in flight to keep p.
func (m *member) send(s *socket.Socket, now time.Time, p publication) error {
	m.waiting = p
	again := m.publishWaiting(s, now)
	if again.IsZero() {
		return nil
	}
	n := p.bytes()
	if err := m.h.InFlight.Take(s.Client(), n); err != nil {
		m.waiting = nil
		full, _ := errors.AsType[problem.Problem](err)
		return socket.Close{Code: ws.StatusCode(full.Close), Reason: full.Code}
	}
	m.kept = n
	m.lookAgain(s, again)
	return nil
}

// forget forgets the waiting publication.
func (m *member) forget(s *socket.Socket) {
	m.h.InFlight.Give(s.Client(), m.kept)
	m.waiting, m.kept = nil, 0
}

// publishWaiting publishes the waiting publication if the copies of its address allow it.
// Otherwise it pauses reading, and returns the time of the next attempt.
func (m *member) publishWaiting(s *socket.Socket, now time.Time) (again time.Time) {
	p := m.waiting
	if p == nil {
		return time.Time{}
	}
	if wait := m.h.Clients.Publish(s.Client(), max(1, p.copies())); wait > 0 {
		again = now.Add(wait)
		s.Pause(again)
		return again
	}
	m.forget(s)
	m.h.Meter.Request(m.kind.gate.Transport, p.publish())
	return time.Time{}
}

// endBy ends the connection at the given time, unless it ends earlier.
func (m *member) endBy(at time.Time, why error) {
	if m.why == nil || at.Before(m.ends) {
		m.ends, m.why = at, why
	}
}

// End implements [socket.Protocol].
func (m *member) End(s *socket.Socket, why error) socket.Close {
	m.wait.End()
	for _, topic := range m.topics {
		m.h.Topics.Unsubscribe(topic, m)
	}
	m.topics = nil
	m.forget(s)
	m.h.swarms.leaveAll(m)
	if m.socket != nil {
		_ = m.hold(0) // cannot fail: it only gives bytes back
	}
	m.mu.Lock()
	if m.socket != nil {
		m.clear()
	}
	m.mu.Unlock()
	if c, ok := errors.AsType[socket.Close](why); ok {
		return c
	}
	switch {
	case errors.Is(why, inbox.ErrDraining):
		return socket.Close{Code: ws.StatusCode(problem.Draining.Close), Reason: "draining"}
	case errors.Is(why, inbox.ErrRateLimited):
		return socket.Close{Code: ws.StatusCode(problem.RateLimited.Close), Reason: "rate-limited"}
	case errors.Is(why, errSlow), errors.Is(why, errMissed):
		return socket.Close{Code: tryAgainLater, Reason: why.Error()}
	}
	return socket.Close{Code: ws.StatusGoingAway} // the client is gone
}

// tryAgainLater is the close code for clients that should reconnect (IANA).
const tryAgainLater = ws.StatusCode(1013)
