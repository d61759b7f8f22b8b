package main

import (
	"fmt"
	"time"
)

// cycleCommand measures a message cycle: a POST that sends and a GET that receives, on
// the same connection. In the form "pop" the GET has no cursor. In the form "ack" it has
// the cursor of the previous message.
type cycleCommand struct {
	Conns  []int         `default:"1,16,64" help:"Numbers of connections."`
	Body   []int         `default:"1024,2560" help:"Sizes of a message in bytes. An offer has 2560."`
	Form   []string      `default:"pop,ack" enum:"pop,ack" help:"How messages are received."`
	Round  time.Duration `default:"250ms" help:"Length of a round. Short, alternating rounds meet the same noise."`
	Rounds int           `default:"15" help:"Rounds per server and setting."`
}

// target is one of the servers being compared.
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

// compare measures the targets in alternating rounds. Unless allHold is set, only the
// first target stores inboxes; the others get responses prepared like its own.
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

// rehearse performs the first cycles of each connection. It returns the responses of
// inbox, which the other targets imitate.
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
	// The end of a chunked body is not included in its size.
	const chunks = 16
	if err == nil && like != nil && (is.Post.size != like.Post.size || max(is.Get.size-like.Get.size, like.Get.size-is.Get.size) > chunks) {
		err = fmt.Errorf("the responses have %d and %d bytes, want %d and %d as from inbox",
			is.Post.size, is.Get.size, like.Post.size, like.Get.size)
	}
	return is, err
}

// goals bound the cost of a send and a receive relative to the bare handler.
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
