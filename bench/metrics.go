package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// metricsCommand measures the cost of limits and metrics: of a request, against a server
// without either, and of a scrape with very many inboxes.
type metricsCommand struct {
	Conns   int           `default:"16" help:"Connections."`
	Body    int           `default:"1024" help:"Size of a message in bytes."`
	Form    []string      `default:"pop,ack" enum:"pop,ack" help:"How messages are received."`
	Round   time.Duration `default:"250ms" help:"Length of a round. Short, alternating rounds meet the same noise."`
	Rounds  int           `default:"31" help:"Rounds per server and setting."`
	N       int           `name:"n" default:"100000" help:"Inboxes that exist during a scrape."`
	Scrapes int           `default:"50" help:"Scrapes."`
}

// bounds are limits so high that the load never reaches them: the cost of checking them
// is measured, not of refusing.
var bounds = []string{
	"--limit-requests=900000/s,burst=1000000000", "--limit-inboxes=900000/s,burst=1000000000",
	"--limit-recipients=900000/s,burst=1000000000",
}

func (c *metricsCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	for _, form := range c.Form {
		if err := c.requests(e, form); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return c.scrapes(e)
}

// requests compares servers with and without metrics and limits.
func (c *metricsCommand) requests(e *env, form string) error {
	var targets []*target
	for _, s := range []struct {
		name  string
		flags []string
	}{
		{"without", []string{"--limits=off"}},
		{"metrics", []string{"--limits=off", "--metrics-listen=127.0.0.1:0"}},
		{"metrics and limits", append([]string{"--metrics-listen=127.0.0.1:0"}, bounds...)},
	} {
		p, err := e.serve(append([]string{"--turn=off"}, s.flags...)...)
		if err != nil {
			return err
		}
		defer p.stop()
		targets = append(targets, &target{name: s.name, p: p})
	}
	e.say("metrics: %s, %d bytes, %s", form, c.Body, plural(c.Conns, "connection"))
	life := time.Duration(c.Rounds+1)*time.Duration(len(targets))*(c.Round+time.Second) + 30*time.Second
	for _, t := range targets {
		for i := range c.Conns {
			cy, err := dialCycler(e, t.p, i, form == "ack", c.Body, life)
			if err != nil {
				return err
			}
			defer cy.Close()
			t.cyclers = append(t.cyclers, cy)
		}
		if _, err := t.rehearse(nil); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
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
	for _, t := range targets[1:] {
		own, base, ratios := compared(t.samples, targets[0].samples)
		e.report.add(row{
			Group: "metrics: server CPU per send + receive", What: form + ", with " + t.name, Unit: "µs",
			Measured: own, Goal: new(1.03), OfRatio: true, Against: "without both", Baseline: base, Ratio: median(ratios), Note: spread(ratios),
		})
	}
	return nil
}

// scrapes fetches the metrics of a server with very many inboxes.
func (c *metricsCommand) scrapes(e *env) error {
	server, err := e.serve("--inbox-ttl=1h", "--limits=off", "--turn=off", "--metrics-listen=127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.stop()
	o, err := newOpeners(e, server.addr, 4)
	if err != nil {
		return err
	}
	defer o.close()
	e.say("metrics: opening %s", plural(c.N, "inbox"))
	if _, err := o.open(c.N); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	at, err := server.announced("at=")
	if err != nil {
		return err
	}
	if err := e.sleep(collects); err != nil { // until the garbage of opening them is collected
		return err
	}
	before, err := server.cpu()
	if err != nil {
		return err
	}
	var size int64
	for range c.Scrapes {
		if size, err = scrape(e, at+"metrics"); err != nil {
			return err
		}
	}
	after, err := server.cpu()
	if err = errors.Join(err, server.alive()); err != nil {
		return err
	}
	e.report.add(row{
		Group: "metrics: a scrape", What: plural(c.N, "inbox"), Unit: "ms", Goal: new(20.0),
		Measured: (after - before).Seconds() * 1e3 / float64(c.Scrapes),
		Note:     fmt.Sprintf("server CPU; %s, %d bytes each", plural(c.Scrapes, "scrape"), size),
	})
	return nil
}

func scrape(e *env, url string) (size int64, err error) {
	req, err := http.NewRequestWithContext(e.ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if size, err = io.Copy(io.Discard, res.Body); err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("a scrape got %s", res.Status)
	}
	return size, err
}
