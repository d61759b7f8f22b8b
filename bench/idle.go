package main

import (
	"fmt"
	"time"
)

// idleCommand opens very many inboxes and leaves them idle.
type idleCommand struct {
	N      int           `name:"n" default:"300000" help:"Number of inboxes."`
	Settle time.Duration `default:"30s" help:"How long to wait for memory to settle."`
}

func (c *idleCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	server, err := e.serve("--inbox-ttl=1h", fmt.Sprintf("--max-inboxes=%d", c.N+1000))
	if err != nil {
		return err
	}
	defer server.stop()
	e.say("idle: %d inboxes", c.N)
	// Open the connections first, so that their memory is not counted.
	o, err := newOpeners(e, server.addr, 4)
	if err != nil {
		return err
	}
	defer o.close()
	if _, err := o.open(4 * pipelined); err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	start, err := e.settle(server, 2*time.Second, 5*time.Second)
	if err != nil {
		return err
	}
	before, err := server.cpu()
	if err != nil {
		return err
	}
	if _, err := o.open(c.N); err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	after, err := server.cpu()
	if err != nil {
		return err
	}
	e.say("idle: waiting for memory to settle")
	began := time.Now()
	settled, err := e.settle(server, collects, c.Settle)
	if err != nil {
		return err
	}
	peak, err := peakOf(server.pid)
	if err != nil {
		return err
	}
	if err := server.alive(); err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	per := func(rss int64) float64 { return float64(rss-start) / float64(c.N) }
	const group = "idle: memory of an idle inbox"
	e.report.add(row{Group: group, What: "resident, settled", Measured: per(settled), Unit: "bytes", Goal: new(600.0),
		Note: fmt.Sprintf("%s, ids of 36 bytes; %s MB before, %s MB after %.0f s",
			plural(c.N, "inbox"), megabytes(start), megabytes(settled), time.Since(began).Seconds())})
	e.report.add(row{Group: group, What: "resident, peak", Measured: per(peak), Unit: "bytes"})
	e.report.add(row{Group: group, What: "server CPU per inbox opened", Measured: micros(after-before, c.N), Unit: "µs",
		Note: "requests are pipelined"})
	return nil
}

func megabytes(n int64) string { return plain(float64(n) / 1e6) }
