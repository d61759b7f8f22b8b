package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// path is a publisher at one server and subscribers at another.
type path struct {
	publisher   *socket
	subscribers []*socket
	conns       []*conn
	took        []time.Duration
}

func (p *path) dial(e *env, to *process, i int, open func(*conn, int) (*socket, error)) (*socket, error) {
	c, err := dialSized(e.ctx, to.addr, i, 10*time.Minute, 4<<10)
	if err != nil {
		return nil, err
	}
	p.conns = append(p.conns, c)
	return open(c, i)
}

func (p *path) open(e *env, servers []*process, subscribers int, open func(*conn, int) (*socket, error)) (err error) {
	if p.publisher, err = p.dial(e, servers[0], 0, open); err != nil {
		return err
	}
	for i := range subscribers {
		s, err := p.dial(e, servers[1], i, open)
		if err != nil {
			return err
		}
		p.subscribers = append(p.subscribers, s)
	}
	return nil
}

// measure publishes once, and waits until every subscriber has the publication.
func (p *path) measure(frame, part []byte) error {
	begin := time.Now()
	if err := p.publisher.send(frame); err != nil {
		return err
	}
	for _, s := range p.subscribers {
		got, err := s.next()
		if err != nil {
			return err
		}
		if !bytes.Contains(got, part) {
			return fmt.Errorf("a subscriber got %.100s, want %s", got, part)
		}
	}
	p.took = append(p.took, time.Since(begin))
	return nil
}

// across measures the time from a publication at one server to its arrival at all
// subscribers at another, over Redis. Alternating with it, it measures the same over two
// bare fans and the same Redis: the machine's own hops.
func (c *topicsCommand) across(e *env) error {
	const subscribers = 5
	e.say("topics: %s from one server to %s at another", plural(c.Samples, "publication"), plural(subscribers, "subscriber"))
	two, err := startTwo(e, c.Program, "--limits=off")
	if err != nil {
		return err
	}
	defer two.stop()
	var fans []*process
	for range two.servers {
		p, err := e.bare("bare-fan", "--redis="+two.redis.addr)
		if err != nil {
			return err
		}
		defer p.stop()
		fans = append(fans, p)
	}
	var ours, bare path
	defer func() { hangUp(ours.conns); hangUp(bare.conns) }()
	if err := ours.open(e, two.servers, subscribers, inRoom); err != nil {
		return err
	}
	ours.publisher.send([]byte(`{"type":"unsubscribe","topics":["room"]}`))
	if err := bare.open(e, fans, subscribers, anySocket); err != nil {
		return err
	}
	if err := e.sleep(time.Second); err != nil { // until the servers have subscribed
		return err
	}
	for n := range c.Samples {
		part := fmt.Appendf(nil, `"n":%d,`, n)
		frame := fmt.Appendf(nil, `{"type":"publish","topic":"room",%s"data":"%s"}`, part, text("", c.Body))
		for _, p := range []*path{&ours, &bare} {
			if err := p.measure(frame, part); err != nil {
				return err
			}
			if err := e.sleep(quietPause); err != nil {
				return err
			}
		}
	}
	slices.Sort(ours.took)
	slices.Sort(bare.took)
	for _, q := range []struct {
		what    string
		percent int
		goal    *float64
	}{{"median", 50, new(1.5)}, {"99 %", 99, nil}} {
		own, hops := percentile(ours.took, q.percent), percentile(bare.took, q.percent)
		e.report.add(row{Group: "topics: a publication at one server to subscribers at another, beyond the machine's own hops", What: q.what,
			Unit: "ms", Measured: own - hops, Goal: q.goal, Against: "hops", Baseline: hops,
			Note: fmt.Sprintf("%.2f ms in all; over two bare fans and the same Redis %.2f ms", own, hops)})
	}
	return nil
}

// quietPause is the pause between two publications, so that no core is busy.
const quietPause = 3 * time.Millisecond
