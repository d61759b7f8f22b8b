package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ledgerCommand sends very many messages in every way to every kind of recipient and
// accounts for each. Recipients reconnect frequently. With the memory store, a server
// without TLS and one with TLS get half of the messages each. With Redis, two such
// servers share the inboxes.
type ledgerCommand struct {
	Messages int           `default:"100000" help:"Messages per store."`
	Store    []string      `default:"memory,redis" enum:"memory,redis" help:"Stores."`
	Program  string        `default:"redis-server" help:"Redis or Valkey executable."`
	Within   time.Duration `default:"10m" help:"Time limit per store."`
}

const ledgerGroup = "ledger: every message over every transport, plain and TLS, HTTP/1.1 and HTTP/2"

func (c *ledgerCommand) Run(e *env) error {
	if err := e.together(2); err != nil {
		return err
	}
	for _, store := range c.Store {
		var flags []string
		if store == "redis" {
			redis, err := startRedis(e, c.Program)
			if err != nil {
				return err
			}
			defer redis.stop()
			flags = redis.flags
		}
		var servers []*process
		for _, tls := range []string{"off", "self-signed"} {
			p, err := e.serve(append(flags, "--tls="+tls)...)
			if err != nil {
				return err
			}
			defer p.stop()
			servers = append(servers, p)
		}
		sites := [][]*process{servers} // each site has its own inboxes
		if store == "memory" {
			sites = [][]*process{servers[:1], servers[1:]}
		}
		if err := c.run(e, store, sites); err != nil {
			return fmt.Errorf("ledger: %s: %w", store, err)
		}
		for _, p := range servers {
			if err := p.alive(); err != nil {
				return err
			}
		}
	}
	return nil
}

// pairing is a sender and the recipient of all its messages.
type pairing struct {
	way
	from peer
	to   *recipient
}

// pairings combines every way to send with every recipient of a site.
func pairings(site []*process) (recipients []*recipient, all []pairing) {
	var senders []way
	for _, p := range site {
		for version := 1; version <= 2; version++ {
			senders = append(senders, way{p, "request", version})
			for _, transport := range []string{"poll", "poll, pop", "long poll", "long poll, pop", "stream", "stream, pop"} {
				recipients = append(recipients, &recipient{peer: newPeer(), way: way{p, transport, version}})
			}
		}
		for _, transport := range []string{"socket", "PeerJS"} {
			senders = append(senders, way{p, transport, 1})
			recipients = append(recipients, &recipient{peer: newPeer(), way: way{p, transport, 1}})
		}
	}
	for _, r := range recipients {
		r.ledgers, r.arrived = map[string]*ledger{}, map[string]chan struct{}{}
		for _, w := range senders {
			if (w.transport == "PeerJS") == (r.transport == "PeerJS") {
				all = append(all, pairing{w, newPeer(), r})
			}
		}
	}
	return recipients, all
}

func (c *ledgerCommand) run(e *env, store string, sites [][]*process) error {
	var recipients []*recipient
	var all []pairing
	for _, site := range sites {
		r, p := pairings(site)
		recipients, all = append(recipients, r...), append(all, p...)
	}
	each := (c.Messages + len(all) - 1) / len(all)
	for _, p := range all {
		p.to.ledgers[p.from.id] = newLedger(each)
		if p.transport == "PeerJS" {
			p.to.arrived[p.from.id] = make(chan struct{}, 4)
		}
	}
	e.say("ledger: %s, %s from %d senders to %d recipients", store, plural(each*len(all), "message"), len(all), len(recipients))
	ctx, stop := context.WithCancelCause(e.ctx)
	defer stop(nil)
	deadline := time.AfterFunc(c.Within, func() { stop(fmt.Errorf("not all messages arrived within %v", c.Within)) })
	defer deadline.Stop()
	for i, r := range recipients {
		if r.transport == "PeerJS" {
			continue // its socket opens the inbox
		}
		res, err := (&recipient{peer: r.peer, way: r.way}).ask(ctx, r.p.client(i, r.version), "?after=0&limit=0", "*/*")
		if err != nil {
			return fmt.Errorf("%v: %w", r.way, err)
		}
		res.Body.Close()
	}
	var running sync.WaitGroup
	run := func(w way, f func() error) {
		running.Go(func() {
			if err := f(); err != nil {
				stop(fmt.Errorf("%v: %w", w, err))
			}
		})
	}
	began := time.Now()
	for i, r := range recipients {
		run(r.way, func() error { return r.receive(ctx, i) })
	}
	for i, p := range all {
		run(p.way, func() error { return p.send(ctx, i, p.from, p.to, each) })
	}
	for complete := 0; complete < len(recipients) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		for complete < len(recipients) && recipients[complete].complete() {
			complete++
		}
	}
	took := time.Since(began)
	if ctx.Err() == nil {
		time.Sleep(time.Second) // nothing more should arrive
	}
	err := context.Cause(ctx)
	stop(nil)
	running.Wait()
	var sum tally
	for _, r := range recipients {
		var own tally
		for _, l := range r.ledgers {
			own.add(l)
		}
		own.foreign += r.foreign
		if own != (tally{}) {
			e.report.note("%s, %v: %+v", store, r.way, own)
		}
		sum = tally{sum.lost + own.lost, sum.duplicated + own.duplicated, sum.disordered + own.disordered, sum.foreign + own.foreign}
	}
	of := fmt.Sprintf("of %s from %d senders to %d recipients, in %.0f s", plural(each*len(all), "message"), len(all), len(recipients), took.Seconds())
	e.report.count(ledgerGroup, store+": messages lost", sum.lost, of)
	e.report.count(ledgerGroup, store+": messages duplicated", sum.duplicated, "")
	e.report.count(ledgerGroup, store+": messages out of order", sum.disordered, "")
	e.report.count(ledgerGroup, store+": messages for someone else", sum.foreign, "")
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
