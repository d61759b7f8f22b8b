package main

import (
	"fmt"
	"time"
)

// cycleCommand measures a message cycle: a POST that sends and a GET that
// receives, on one connection. With the form "pop" the GET is plain, with "ack"
// it has the cursor of the message before.
type cycleCommand struct {
	Conns  []int         `default:"1,16,64" help:"Connections."`
	Body   []int         `default:"1024,2560" help:"Bytes of a message. 2560 is what an offer has."`
	Form   []string      `default:"pop,ack" enum:"pop,ack" help:"How messages are received."`
	Round  time.Duration `default:"250ms" help:"Length of a round. Short ones, in turns, meet the same noise."`
	Rounds int           `default:"15" help:"Rounds for each server and setting."`
}

// target is one of the servers that are compared.
type target struct {
	name    string
	p       *process
	cyclers []*cycler
	samples []sample
}

func (c *cycleCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	server, err := e.serve()
	if err != nil {
		return err
	}
	defer server.stop()
	bare, err := e.bare("bare-handler")
	if err != nil {
		return err
	}
	defer bare.stop()
	plainest, err := e.bare("bare-handler", "--default")
	if err != nil {
		return err
	}
	defer plainest.stop()
	for _, form := range c.Form {
		for _, size := range c.Body {
			for _, conns := range c.Conns {
				e.say("cycle: %s, %d bytes, %s", form, size, plural(conns, "connection"))
				targets := []*target{{name: "inbox", p: server}, {name: "bare", p: bare}, {name: "default", p: plainest}}
				if err := c.compare(e, targets, false, form == "ack", size, conns); err != nil {
					return fmt.Errorf("cycle: %w", err)
				}
				c.rows(e, targets, goals[form], fmt.Sprintf("%s, %s B, %s", form, plain(float64(size)), plural(conns, "connection")))
			}
		}
	}
	return nil
}

// compare measures the targets in turns. Unless all of them hold inboxes, those after the
// first answer as the first one did.
func (c *cycleCommand) compare(e *env, targets []*target, allHold, ack bool, size, conns int) error {
	life := time.Duration(c.Rounds+1)*3*(c.Round+time.Second) + 30*time.Second
	var like *bareAnswers
	for _, t := range targets {
		for i := range conns {
			cy, err := dialCycler(e, t.p, i, ack, size, life)
			if err != nil {
				return err
			}
			defer cy.Close()
			t.cyclers = append(t.cyclers, cy)
		}
		answers, err := t.rehearse(like)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if !allHold {
			like = answers
		}
	}
	for round := range c.Rounds {
		for i := range targets {
			t := targets[(round+i)%len(targets)]
			s, err := measureCycles(e, t, c.Round)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			t.samples = append(t.samples, s)
		}
	}
	return nil
}

// rehearse does the first cycle of each connection. What inbox answers is
// what the others are told to answer.
func (t *target) rehearse(like *bareAnswers) (*bareAnswers, error) {
	first := t.cyclers[0]
	if like != nil {
		if err := like.prepare(first.conn); err != nil {
			return nil, err
		}
		for _, cy := range t.cyclers {
			cy.bare = true
		}
	}
	var err error
	for _, cy := range t.cyclers {
		err = cy.open()
		for range 3 {
			if err == nil {
				err = cy.cycle()
			}
		}
		if err != nil {
			return nil, err
		}
	}
	is, err := first.sample()
	// What ends a body that comes in chunks is not in its size.
	const chunks = 16
	if err == nil && like != nil && (is.Post.size != like.Post.size || max(is.Get.size-like.Get.size, like.Get.size-is.Get.size) > chunks) {
		err = fmt.Errorf("the answers have %d and %d bytes, those of inbox %d and %d",
			is.Post.size, is.Get.size, like.Post.size, like.Get.size)
	}
	return is, err
}

// goals are what a send and a receive may cost against the bare handler.
var goals = map[string]float64{"ack": 1.25, "pop": 1.5}

func (c *cycleCommand) rows(e *env, targets []*target, goal float64, what string) {
	inbox := targets[0]
	for i, against := range []string{"bare handler, same limits", "bare handler, default"} {
		bare := targets[i+1].samples
		own, base, ratios := compared(inbox.samples, bare)
		e.report.add(row{
			Group: "cycle: server CPU per send + receive", What: what, Unit: "µs",
			Measured: own, Goal: new(goal), OfRatio: true, Against: against, Baseline: base, Ratio: median(ratios),
			Note: spread(ratios) + "; " + rates(inbox.samples, bare),
		})
	}
}
