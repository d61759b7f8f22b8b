package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// expiryCommand measures message cycles while very many inboxes expire, and for as long
// before and after while none does. The cycles leave the server idle time, so that they
// do not queue behind each other. A bare handler on the same core performs as many
// cycles. It reveals the pauses that the machine causes.
type expiryCommand struct {
	N      int           `name:"n" default:"100000" help:"Number of inboxes that expire."`
	Conns  int           `default:"8" help:"Connections that perform cycles meanwhile."`
	Rate   int           `default:"2000" help:"Cycles per second in total."`
	TTL    time.Duration `name:"ttl" default:"12s" help:"Lifetime of an inbox."`
	Rounds int           `default:"3" help:"Rounds."`
}

func (c *expiryCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	ttl := c.TTL
	for range 3 {
		err := c.measure(e, ttl)
		if !errors.Is(err, errExpiredEarly) {
			return err
		}
		ttl *= 2
		e.say("expiry: the machine is slow: retrying with a lifetime of %v", ttl)
	}
	return errExpiredEarly
}

var errExpiredEarly = errors.New("expiry: opening the inboxes took longer than their lifetime: use a longer --ttl")

func (c *expiryCommand) measure(e *env, ttl time.Duration) error {
	server, err := e.serve(fmt.Sprintf("--inbox-ttl=%v", ttl))
	if err != nil {
		return err
	}
	defer server.stop()
	bare, err := e.bare("bare-handler")
	if err != nil {
		return err
	}
	defer bare.stop()
	inbox, witness := &target{name: "inbox", p: server}, &target{name: "bare handler", p: bare}
	var like *bareAnswers
	for _, t := range []*target{inbox, witness} {
		for i := range c.Conns {
			cy, err := dialCycler(e, t.p, i, false, 1024, 15*time.Minute)
			if err != nil {
				return err
			}
			defer cy.Close()
			t.cyclers = append(t.cyclers, cy)
		}
		if like, err = t.rehearse(like); err != nil {
			return fmt.Errorf("expiry: %s: %w", t.name, err)
		}
	}
	var during, quiet []watched
	for round := range c.Rounds {
		e.say("expiry: round %d of %d", round+1, c.Rounds)
		d, q, err := c.round(e, ttl, inbox, witness)
		if errors.Is(err, errExpiredEarly) && round > 0 {
			break
		}
		if err = errors.Join(err, server.alive()); err != nil {
			return fmt.Errorf("expiry: %w", err)
		}
		during, quiet = append(during, d), append(quiet, q...)
	}
	c.rows(e, during, quiet)
	return nil
}

func (c *expiryCommand) rows(e *env, during, quiet []watched) {
	const group = "expiry: how long others wait while inboxes expire"
	add := func(what, unit string, of func(watched) float64, goal *float64, note string) {
		d, q := figures(during, of), figures(quiet, of)
		e.report.add(row{
			Group: group, What: what, Unit: unit, Measured: median(d), Goal: goal,
			Against: "no expiry", Baseline: median(q), Note: fmt.Sprintf("each %s against %s%s", list(d), list(q), note),
		})
	}
	add("longest pause of the server itself", "ms", func(w watched) float64 { return millis(w.own) }, new(5.0),
		fmt.Sprintf("; %s expire, %s, %s cycles/s", plural(c.N, "inbox"), plural(c.Conns, "connection"), plain(float64(c.Rate))))
	add("own pauses over 5 ms, per million requests", "", func(w watched) float64 { return 1e6 * float64(w.slow) / float64(w.requests) }, nil, "")
	add("longest pause, including the machine's", "ms", func(w watched) float64 { return millis(w.longest) }, nil, "")
	add("longest pause of a bare handler", "ms", func(w watched) float64 { return millis(w.bare) }, nil, "")
	// Cycles cost the same in both phases. The rest is the cost of expiry.
	each := median(figures(quiet, func(w watched) float64 { return w.cpu.Seconds() / float64(w.requests) }))
	extra := median(figures(during, func(w watched) float64 { return w.cpu.Seconds() - each*float64(w.requests) }))
	e.report.add(row{
		Group: group, What: "server CPU per expired inbox", Unit: "µs", Measured: max(0, extra*1e6/float64(c.N)),
		Note: "in addition to the cycles",
	})
}

func millis(d time.Duration) float64 { return d.Seconds() * 1e3 }

// watched is the result of one phase.
type watched struct {
	pauses
	bare     time.Duration // longest wait of the witness
	requests int
	cpu      time.Duration // of the server
}

// round measures while inboxes expire, and for as long while none does: afterwards and,
// if there is time, before.
func (c *expiryCommand) round(e *env, ttl time.Duration, t, witness *target) (during watched, quiet []watched, err error) {
	o, err := newOpeners(e, t.p.addr, 4)
	if err != nil {
		return during, nil, err
	}
	defer o.close()
	began := time.Now()
	// The owners of some inboxes, to check that these existed and are gone.
	owners, err := o.open(c.N)
	if err != nil {
		return during, nil, err
	}
	// The last inboxes are removed within two seconds of their expiry.
	phase := time.Since(began) + 2*time.Second
	expires := began.Add(ttl - 100*time.Millisecond)
	switch left := time.Until(expires); {
	case left < 0:
		return during, nil, errExpiredEarly
	case left > phase:
		w, err := c.watch(e, t, witness, phase)
		if err != nil {
			return during, nil, err
		}
		quiet = append(quiet, w)
	}
	if err := e.sleep(time.Until(expires)); err != nil {
		return during, nil, err
	}
	if during, err = c.watch(e, t, witness, phase); err != nil {
		return during, nil, err
	}
	if err := gone(o.conns[0], owners); err != nil {
		return during, nil, err
	}
	w, err := c.watch(e, t, witness, phase)
	return during, append(quiet, w), err
}

// watch performs cycles for d.
func (c *expiryCommand) watch(e *env, inbox, witness *target, d time.Duration) (w watched, err error) {
	for _, cy := range inbox.cyclers {
		if err := cy.open(); err != nil { // it may have expired since the last phase
			return w, err
		}
	}
	begin := time.Now()
	both := slices.Concat(inbox.cyclers, witness.cyclers)
	for i, cy := range both {
		cy.waits = nil
		cy.every = time.Second * time.Duration(c.Conns) / time.Duration(max(c.Rate, 1))
		cy.next = begin.Add(cy.every * time.Duration(i) / time.Duration(len(both)))
	}
	before, err := inbox.p.cpu()
	if err != nil {
		return w, err
	}
	load := spin(both, (*cycler).timed)
	err = e.sleep(d)
	if err = errors.Join(err, load.stop()); err != nil {
		return w, err
	}
	after, err := inbox.p.cpu()
	if w.cpu, w.requests = after-before, int(load.done.Load()); w.requests == 0 {
		return w, errors.New("no cycle was completed")
	}
	waits, machine := inbox.waits(), witness.waits()
	w.pauses, w.bare = blame(waits, machine), longestOf(machine)
	return w, err
}

func (t *target) waits() (all []span) {
	for _, cy := range t.cyclers {
		all = append(all, cy.waits...)
	}
	return all
}

func figures(w []watched, of func(watched) float64) []float64 {
	v := make([]float64, len(w))
	for i := range w {
		v[i] = of(w[i])
	}
	return v
}

// gone sends to some of the inboxes and checks that they no longer exist.
func gone(c *conn, owners []peer) error {
	sender := newPeer()
	for p := range slices.Values(owners[:min(len(owners), 200)]) {
		if _, err := c.must(sender.post(p.id, []byte("x")), 404); err != nil {
			return fmt.Errorf("an inbox should have expired: %w", err)
		}
	}
	return nil
}

func list(v []float64) string {
	var s strings.Builder
	for i, x := range v {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(plain(x))
	}
	return s.String()
}
