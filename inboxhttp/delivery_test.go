package inboxhttp_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// Delivery cases, run over every transport, wire and store.

var wires = []wire{
	memory,
	{name: "memory, HTTP/2", bubble: true, config: config{http2: true}},
	{name: "TCP, HTTP/1.1", config: config{sockets: true}},
	{name: "TCP, HTTP/1.1, parked", parked: true, config: config{sockets: true}},
	{name: "TCP, HTTP/2", config: config{sockets: true, http2: true}},
	{name: "TLS, HTTP/1.1, parked", parked: true, config: config{sockets: true, tls: true}},
	{name: "TLS, HTTP/1.1, blocking", config: config{sockets: true, tls: true, blocks: true}},
	{name: "TLS, HTTP/2", config: config{sockets: true, tls: true, http2: true}},
	{name: "two servers, HTTP/1.1", redis: true, config: config{sockets: true}},
	twoServers,
	{name: "two servers, TLS, HTTP/2", redis: true, config: config{sockets: true, tls: true, http2: true}},
}

// delivery is one running case.
type delivery struct {
	*server
	transport
	wire wire
}

type deliveryCase struct {
	name   string
	only   func(transport) bool // nil for every transport
	lives  bool                 // needs more than the life of one inbox
	limits inbox.Limits
	run    func(d *delivery)
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var real sync.WaitGroup
	defer real.Wait()
	room := make(chan struct{}, 8) // limits how many cases run over real wires at once
	for _, w := range wires {
		for _, tr := range transports {
			for _, c := range deliveryCases {
				if c.only != nil && !c.only(tr) || w.parked && !tr.waits || c.lives && !w.bubble && !w.parked {
					continue
				}
				run := func() {
					t.Run(strings.Join([]string{w.name, tr.name, c.name}, "/"), func(t *testing.T) { c.deliver(t, redis, w, tr) })
				}
				switch {
				case w.bubble:
					run()
				case c.lives: // it only waits
					real.Go(run)
				default:
					real.Go(func() { room <- struct{}{}; run(); <-room })
				}
			}
		}
	}
}

func (c deliveryCase) deliver(t *testing.T, redis *redistest.Server, w wire, tr transport) {
	w.config.limits = c.limits
	if w.redis {
		w.config.redis = redis
	}
	if c.lives && !w.bubble {
		w.config.limits.TTL = 4 * time.Second
	}
	w.run(t, w.config, func(s *server) { c.run(&delivery{s, tr, w}) })
}

// begin opens the inbox of id and connects to it at its beginning.
func (d *delivery) begin(id string) connection {
	d.Helper()
	return d.connect(d.server, id, d.get(id, "?limit=0").want(http.StatusNoContent).cursor())
}

// expect receives exactly these messages.
func (d *delivery) expect(c connection, bodies ...string) (last event) {
	d.Helper()
	for _, body := range bodies {
		last = d.take(c)
		if last.code != "message" || last.body != body {
			d.Fatalf("got %s %.50q, want the message %.50q", last.code, last.body, body)
		}
	}
	return last
}

// expectEnd waits until the connection ends with this code.
func (d *delivery) expectEnd(c connection, code string) {
	d.Helper()
	if got := d.take(c); got.code != code {
		d.Fatalf("got %s %.50q, want %s", got.code, got.body, code)
	}
}

func (d *delivery) take(c connection) event {
	d.Helper()
	e, err := c.next()
	if err != nil {
		d.Fatal(err)
	}
	return e
}

// listening is a connection with a receive in progress.
type listening struct {
	connection
	heard chan heard
}

type heard struct {
	event
	err error
}

// next returns the result of the receive in progress.
func (l *listening) next() (event, error) {
	h := <-l.heard
	return h.event, h.err
}

// listen starts a receive and returns when the server knows the receiver.
func (d *delivery) listen(id string, c connection) *listening {
	d.Helper()
	l := &listening{c, make(chan heard, 1)}
	receivers, parked := d.store.receivers(id), d.server.parked.Load()
	waiting := false // a receiver is attached already
	if p, ok := c.(interface{ attached() bool }); ok {
		waiting = p.attached()
	}
	gone := make(chan struct{})
	go func() {
		e, err := c.next()
		l.heard <- heard{e, err}
		close(gone)
	}()
	if waiting {
		return l
	}
	if d.waits {
		d.store.untilReceivers(id, receivers+1, gone)
	}
	if d.wire.parked {
		inboxtest.Until(d, "the connection is parked, or has a result", func() bool {
			return d.server.parked.Load() > parked || len(l.heard) > 0
		})
	}
	return l
}

// pass lets time pass.
func (d *delivery) pass(t time.Duration) {
	d.Helper()
	for end := time.Now().Add(t); time.Now().Before(end); {
		before := time.Now()
		time.Sleep(min(d.ttl/100, time.Until(end)))
		if took := time.Since(before); took > d.ttl/4 {
			d.Skipf("this machine paused for %v, long enough for an inbox to expire", took)
		}
	}
}

// untilGone waits until the inbox has expired and returns how long that took.
func (d *delivery) untilGone(id string) time.Duration {
	d.Helper()
	begin := time.Now()
	gone := func() bool {
		a := d.post("prober", id, "")
		return a.code == "no-such-inbox"
	}
	if d.bubble {
		for !gone() {
			time.Sleep(time.Second)
		}
	} else {
		inboxtest.Until(d, "the inbox has expired", gone)
	}
	return time.Since(begin)
}

func numbered(n int) (bodies []string) {
	for i := range n {
		bodies = append(bodies, fmt.Sprintf("message %d", i))
	}
	return bodies
}

func waits(t transport) bool        { return t.waits }
func acknowledges(t transport) bool { return t.acknowledges }
func pops(t transport) bool         { return !t.acknowledges }

var deliveryCases = slices.Concat(orderCases, lossCases, endCases, lifeCases)

// left waits until the server can know that the client has left. Over HTTP/1.1 it asks
// the kernel before it writes. Over HTTP/2 it has to read the reset first, and may write
// a pop until then.
func (d *delivery) left(l *listening) {
	d.Helper()
	l.leave()
	if e, err := l.next(); err != errLeft {
		d.Fatalf("got %v %v, want the end after leaving", e, err)
	}
	switch { // a TCP connection needs no wait: the server asks the kernel
	case d.bubble:
		synctest.Wait()
	case d.wire.config.http2:
		inboxtest.Until(d, "the handler has returned", func() bool { return d.inside.Load() == 0 })
	}
}

// popped waits until popped messages have left the inbox. Until then they take up room,
// and a request over another connection may receive them again.
func (d *delivery) popped(id string) {
	d.Helper()
	switch {
	case d.acknowledges:
	case d.bubble:
		synctest.Wait()
	default:
		inboxtest.Until(d, "the popped messages have left the inbox", func() bool { return d.held(id) == 0 })
	}
}
