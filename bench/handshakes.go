package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// handshakesCommand simulates browsers that connect. Each of two new peers waits with a
// long poll on one connection and sends on another: an offer, an answer, and ten
// candidates in each direction. Half of the pairs acknowledge messages, the others pop
// them.
type handshakesCommand struct {
	AtOnce   int           `default:"64" help:"Concurrent handshakes."`
	Duration time.Duration `default:"10s" help:"How long new handshakes start."`
	Cores    int           `default:"2" help:"Cores shared by server and load."`
}

const (
	candidates    = 10
	offerSize     = 2560
	candidateSize = 200
	longest       = 10 * time.Second // time limit of a handshake
)

func (c *handshakesCommand) Run(e *env) error {
	if err := e.together(c.Cores); err != nil {
		return err
	}
	server, err := e.serve()
	if err != nil {
		return err
	}
	defer server.stop()
	e.say("handshakes: %d at once for %v", c.AtOnce, c.Duration)

	began := time.Now()
	before, err := server.cpu()
	if err != nil {
		return err
	}
	var lanes sync.WaitGroup
	results := make([]laneResult, c.AtOnce)
	for i := range results {
		lanes.Go(func() { results[i] = runLane(e.ctx, server, i, began.Add(c.Duration)) })
	}
	lanes.Wait()
	took := time.Since(began)
	after, err := server.cpu()
	if err = errors.Join(err, server.alive()); err != nil {
		return fmt.Errorf("handshakes: %w", err)
	}
	var all laneResult
	for _, r := range results {
		all.took = append(all.took, r.took...)
		all.errors = append(all.errors, r.errors...)
		all.tally.lost += r.tally.lost
		all.tally.duplicated += r.tally.duplicated
		all.tally.disordered += r.tally.disordered
		all.tally.foreign += r.tally.foreign
	}
	if len(all.took) == 0 {
		return errors.Join(append([]error{errors.New("no handshake was completed")}, all.errors...)...)
	}
	slices.Sort(all.took)
	n := len(all.took)
	const group = "handshakes: offer, answer, 2 × 10 candidates between fresh peers"
	of := plural(n, "handshake") + ", " + plural(n*2*(1+candidates), "message")
	e.report.count(group, "errors", len(all.errors), of)
	e.report.count(group, "messages lost", all.tally.lost, "")
	e.report.count(group, "messages duplicated", all.tally.duplicated, "")
	e.report.count(group, "messages out of order", all.tally.disordered, "")
	e.report.count(group, "messages for someone else", all.tally.foreign, "")
	e.report.add(row{Group: group, What: "handshakes per second", Measured: float64(n) / took.Seconds(),
		Note: fmt.Sprintf("%d at once, %s shared with the load", c.AtOnce, plural(len(e.server), "core"))})
	e.report.add(row{Group: group, What: "server CPU per handshake", Measured: micros(after-before, n), Unit: "µs"})
	e.report.add(row{Group: group, What: "duration of a handshake, median", Measured: all.took[n/2].Seconds() * 1e3, Unit: "ms",
		Note: fmt.Sprintf("99 of 100 within %.0f ms", all.took[n*99/100].Seconds()*1e3)})
	for _, err := range all.errors[:min(3, len(all.errors))] {
		e.report.note("A handshake failed: %v", err)
	}
	return nil
}

// laneResult is the result of the handshakes that one lane performed one after the other.
type laneResult struct {
	took   []time.Duration
	errors []error
	tally  tally
}

func runLane(ctx context.Context, p *process, i int, end time.Time) (r laneResult) {
	var conns [4]*conn // reused by the next peers
	defer func() { hangUp(conns[:]) }()
	for n := 0; time.Now().Before(end) && ctx.Err() == nil && len(r.errors) < 3; n++ {
		for k := range conns {
			if conns[k] != nil {
				continue
			}
			c, err := p.dial(ctx, i, time.Until(end)+4*longest, 8<<10)
			if err != nil {
				r.errors = append(r.errors, err)
				return r
			}
			conns[k] = c
		}
		began := time.Now()
		caller := newParty(conns[0], conns[1], i%2 == 0)
		callee := newParty(conns[2], conns[3], i%2 == 0)
		if err := handshake(caller, callee); err != nil {
			r.errors = append(r.errors, err)
			hangUp(conns[:])
		} else {
			r.took = append(r.took, time.Since(began))
		}
		r.tally.add(caller.ledger)
		r.tally.add(callee.ledger)
	}
	return r
}

func hangUp(conns []*conn) {
	for i, c := range conns {
		if c != nil {
			c.Close()
			conns[i] = nil
		}
	}
}

// party is one side of a handshake.
type party struct {
	peer
	waits, sends *conn
	pops         bool
	ledger       *ledger
	first        chan struct{} // closed when the first message has arrived
}

func newParty(waits, sends *conn, pops bool) *party {
	return &party{peer: newPeer(), waits: waits, sends: sends, pops: pops,
		ledger: newLedger(1 + candidates), first: make(chan struct{})}
}

// handshake lets both parties open their inboxes and wait, and then starts the caller.
func handshake(caller, callee *party) error {
	stuck := time.AfterFunc(longest, func() {
		for _, c := range []*conn{caller.waits, caller.sends, callee.waits, callee.sends} {
			c.Close()
		}
	})
	defer stuck.Stop()
	for _, p := range []*party{caller, callee} {
		if _, err := p.sends.must(p.get("?after=0&limit=0"), 204); err != nil {
			return fmt.Errorf("open: %w", err)
		}
	}
	var parts sync.WaitGroup
	var errs [4]error
	parts.Go(func() { errs[0] = caller.receive(callee.peer) })
	parts.Go(func() { errs[1] = callee.receive(caller.peer) })
	parts.Go(func() { errs[2] = caller.send("offer", callee.peer) })
	parts.Go(func() {
		<-callee.first
		errs[3] = callee.send("answer", caller.peer)
	})
	parts.Wait()
	return errors.Join(errs[:]...)
}

// send sends the description and the candidates, each with its number and sender.
func (p *party) send(what string, to peer) error {
	for i := range 1 + candidates {
		label, size := fmt.Sprintf("%d %s %s ", i, p.id, what), offerSize
		if i > 0 {
			size = candidateSize
		}
		a, err := p.sends.ask(p.post(to.id, text(label, size)))
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if a.status != 200 {
			return fmt.Errorf("send: %w", unexpected(a))
		}
	}
	return nil
}

// receive waits until all messages have arrived, and checks that there are no others.
func (p *party) receive(from peer) error {
	var opened bool
	begin := func() {
		if !opened {
			opened = true
			close(p.first)
		}
	}
	defer begin() // so that the sending goroutine ends
	query := ""
	if !p.pops {
		query = "?after=0"
	}
	for !p.ledger.complete() {
		a, err := p.waits.ask(p.get(query))
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		switch a.status {
		case 200:
			p.ledger.got(p.numberOf(a, from))
			begin()
		case 204:
		default:
			return fmt.Errorf("receive: %w", unexpected(a))
		}
		if !p.pops {
			query = "?after=" + string(a.cursor)
		}
	}
	for {
		separator := "?"
		if query != "" {
			separator = "&"
		}
		a, err := p.waits.ask(p.get(query + separator + "wait=0"))
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if a.status != 200 {
			return nil
		}
		p.ledger.got(p.numberOf(a, from))
		if !p.pops {
			query = "?after=" + string(a.cursor)
		}
	}
}

// numberOf returns the number of a message, or -1 if it is from someone else.
func (p *party) numberOf(a answer, from peer) int {
	fields := strings.Fields(string(a.body[:min(len(a.body), 64)]))
	if string(a.from) != from.id || len(fields) < 2 || fields[1] != from.id {
		return -1
	}
	return number([]byte(fields[0]))
}
