package main

import (
	"errors"
	"fmt"
	"time"
)

// relayCommand measures a message from socket to socket against a relay that only
// forwards frames: a bare one, one with the library gws or, over TLS, one with
// gorilla/websocket. Each does less than inbox must: it stores nothing and receives no
// acknowledgements.
//
// In the form "lean" messages have no key, and eight are acknowledged at a time. In the
// form "full" each message has a key, gets a response, and is acknowledged.
type relayCommand struct {
	Form     []string      `default:"lean,full" enum:"lean,full" help:"How messages are sent and acknowledged."`
	Pairs    int           `default:"64" help:"Pairs of sockets."`
	Body     int           `default:"400" help:"Size of a message in bytes; 400 is the mean of a handshake."`
	InFlight int           `default:"4" help:"Messages in flight per pair."`
	Round    time.Duration `default:"250ms" help:"Length of a round."`
	Rounds   int           `default:"15" help:"Rounds per server."`
	Openings int           `default:"1500" help:"Sockets to open."`
	TLS      bool          `name:"tls" xor:"against" help:"Use TLS, against net/http with gorilla/websocket."`
	Gws      bool          `name:"gws" xor:"against" help:"Compare with a relay that uses the library gws, instead of the bare one."`
}

const relayGroup = "relay: server CPU per message from socket to socket"

func (c *relayCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	var flags []string
	relay := "bare-relay"
	if c.TLS {
		flags, relay = []string{"--tls=self-signed"}, "bare-gorilla"
	}
	if c.Gws {
		relay = "bare-gws"
	}
	server, err := e.serve(flags...)
	if err != nil {
		return err
	}
	defer server.stop()
	bare, err := e.bare(relay)
	if err != nil {
		return err
	}
	defer bare.stop()
	e.say("relay: %s, %d bytes", plural(c.Pairs, "pair"), c.Body)
	lines := []*line{{p: bare}}
	for _, form := range c.Form {
		lines = append(lines, &line{form: form, p: server})
	}
	for _, l := range lines {
		err := l.open(e, c)
		defer l.close()
		if errors.Is(err, errNotServed) {
			e.report.note("relay: sockets are %v.", errNotServed)
			return nil
		}
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
	}
	samples := make([][]sample, len(lines))
	for round := range c.Rounds {
		for i := range lines {
			k := (round + i) % len(lines)
			s, err := lines[k].measure(e, c)
			if err = errors.Join(err, server.alive()); err != nil {
				return fmt.Errorf("relay: %w", err)
			}
			samples[k] = append(samples[k], s)
		}
	}
	for k, l := range lines[1:] {
		c.row(e, l.form, samples[k+1], samples[0])
	}
	for _, l := range lines {
		l.close()
	}
	return c.openings(e, server, bare)
}

func (c *relayCommand) against() string {
	switch {
	case c.TLS:
		return "gorilla/websocket, TLS"
	case c.Gws:
		return "gws"
	}
	return "bare relay"
}

func (c *relayCommand) row(e *env, form string, inbox, bare []sample) {
	own, base, ratios := compared(inbox, bare)
	w := row{
		Group: relayGroup, What: "a message, " + form, Unit: "µs", Measured: own,
		Against: c.against(), Baseline: base, Ratio: median(ratios),
		Note: fmt.Sprintf("%d pairs, %d bytes, %d in flight; %s", c.Pairs, c.Body, c.InFlight, rates(inbox, bare)),
	}
	if form == "lean" {
		w.Goal = new(8.0)
		e.report.add(w)
		goal := 1.25
		if c.TLS {
			goal = 1.4
		}
		w.What, w.Goal, w.OfRatio, w.Note = "the same as a ratio", new(goal), true, spread(ratios)
	}
	e.report.add(w)
}

// openings measures the cost of opening a socket, in batches.
func (c *relayCommand) openings(e *env, server, bare *process) error {
	e.say("relay: %d openings", c.Openings)
	const batches = 5
	measure := func(p *process, open func(*conn, int) error) (sample, error) {
		n := max(1, c.Openings/batches)
		conns := make([]*conn, n)
		defer hangUp(conns)
		before, err := p.cpu()
		if err != nil {
			return sample{}, err
		}
		err = inParallel(8, n, func(i int) (err error) {
			if conns[i], err = p.dial(e.ctx, i, time.Minute, 1024); err != nil {
				return err
			}
			return open(conns[i], i)
		})
		after, cpuErr := p.cpu()
		return sample{micros: micros(after-before, n)}, errors.Join(err, cpuErr, p.alive())
	}
	var inbox, plainest []sample
	for range batches {
		s, err := measure(server, func(c *conn, _ int) error {
			_, err := openSocket(c, newPeer(), "frame")
			return err
		})
		if err != nil {
			return fmt.Errorf("relay: opening: %w", err)
		}
		inbox = append(inbox, s)
		if s, err = measure(bare, func(c *conn, i int) error {
			_, err := upgrade(c, bareUpgrade("opening", i))
			return err
		}); err != nil {
			return fmt.Errorf("relay: opening: %w", err)
		}
		plainest = append(plainest, s)
		if err := errors.Join(e.rest(server, 3*time.Second), e.rest(bare, 3*time.Second)); err != nil {
			return err
		}
	}
	own, base, ratios := compared(inbox, plainest)
	e.report.add(row{
		Group: relayGroup, What: "opening a socket", Unit: "µs", Measured: own, Goal: new(100.0),
		Against: c.against(), Baseline: base, Ratio: median(ratios),
		Note: "including the TCP connection, and the open frame, which the relay lacks",
	})
	return nil
}
