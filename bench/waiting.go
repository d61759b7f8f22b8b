package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// waitingCommand lets very many peers wait. It measures their cost in memory and CPU,
// sends each a message, disconnects all of them, half with a reset, and measures what
// remains. Meanwhile other peers exchange a trickle of messages, as on a server in use.
type waitingCommand struct {
	Transport []string      `default:"poll,stream,socket" enum:"poll,stream,socket" help:"Transports on which peers wait."`
	Peers     int           `default:"10000" help:"Number of peers. Each takes a descriptor in both processes."`
	Idle      time.Duration `default:"10s" help:"How long to measure the CPU before measuring it for a whole period."`
	InboxTTL  time.Duration `name:"inbox-ttl" default:"60s" help:"Lifetime of an inbox after its peer has disconnected."`
	Close     bool          `help:"Close the inboxes instead of waiting until they expire."`
	After     time.Duration `default:"180s" help:"How long to wait until the memory is released."`
	Others    int           `default:"0" help:"Message cycles per second of other peers meanwhile, which create garbage."`
}

// collects is how long memory must be stable to count as settled, since a server may
// check only every few seconds whether it can release some.
const collects = 11 * time.Second

// most bounds the resident bytes of a waiting peer.
var most = map[string]float64{"poll": 5 << 10, "stream": 6 << 10, "socket": 5 << 10}

// periods are the intervals at which something happens to a waiting peer: an empty poll,
// a comment, a ping. The cost of waiting only shows over a whole period.
var periods = map[string]time.Duration{"poll": 25 * time.Second, "stream": 15 * time.Second, "socket": 20 * time.Second}

func (c *waitingCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	for _, transport := range c.Transport {
		e.say("waiting: %s, %s", transport, plural(c.Peers, "peer"))
		err := c.measure(e, transport)
		if errors.Is(err, errNotServed) {
			e.report.note("waiting: the transport %s is %v.", transport, errNotServed)
		} else if err != nil {
			return fmt.Errorf("waiting: %s: %w", transport, err)
		}
	}
	return nil
}

func (c *waitingCommand) measure(e *env, transport string) error {
	goroutines, err := c.goroutinesAtRest(e, transport)
	if err != nil {
		return err
	}
	server, err := c.server(e)
	if err != nil {
		return err
	}
	defer server.stop()
	before, err := readBaseline(e, server)
	if err != nil {
		return err
	}
	w := c.waiting(e, server, transport)
	opening, err := w.open()
	if err != nil {
		return err
	}
	defer w.leave()
	opened, err := rssOf(server.pid)
	if err != nil {
		return err
	}
	if _, err := e.settle(server, collects, 30*time.Second); err != nil {
		return err
	}
	idle, err := w.idle(c.Idle)
	if err != nil {
		return err
	}
	waiting, err := rssOf(server.pid)
	if err != nil {
		return err
	}
	period, kept := periods[transport], w.kept.Load()
	whole, err := w.idle(period)
	if err != nil {
		return err
	}
	kept = w.kept.Load() - kept
	e.say("waiting: a message to each")
	delivery, err := w.deliver()
	if err != nil {
		return err
	}
	peak, err := peakOf(server.pid)
	if err = errors.Join(err, server.alive()); err != nil {
		return err
	}
	group := fmt.Sprintf("waiting: %s, %s", transport, plural(c.Peers, "peer"))
	per := func(rss int64) float64 { return float64(rss-before.fresh) / float64(c.Peers) }
	e.report.add(row{Group: group, What: "resident memory of a waiting peer", Unit: "bytes", Measured: per(waiting), Goal: new(most[transport]),
		Note: fmt.Sprintf("%s MB before, %s MB with them; %s bytes each when just opened, %s at the peak, including everything below",
			megabytes(before.fresh), megabytes(waiting), plain(per(opened)), plain(per(peak)))})
	e.report.add(row{Group: group, What: "idle CPU, percent of a core", Unit: "%", Measured: whole, Goal: new(1.0),
		Note: fmt.Sprintf("over %v, with %s: %s µs each", period, plural(int(kept), happens[transport]), plain(whole/100*period.Seconds()*1e6/float64(max(kept, 1))))})
	e.report.add(row{Group: group, What: "the same, just before", Unit: "%", Measured: idle, Note: "over " + c.Idle.String()})
	e.report.add(row{Group: group, What: "server CPU per opening", Unit: "µs", Measured: opening, Goal: openingGoal(transport), Note: "including the TCP connection"})
	e.report.add(row{Group: group, What: "server CPU per message delivered", Unit: "µs", Measured: delivery, Note: "including the POST and the acknowledgement"})
	e.report.count(group, "messages lost", w.lost(), "of "+plain(float64(c.Peers)))
	e.report.count(group, "messages duplicated or wrong", w.duplicated(), "")
	e.report.count(group, "broken connections", int(w.broken.Load()), w.why())
	return c.after(e, w, group, before, goroutines)
}

func (c *waitingCommand) gone() string {
	if c.Close {
		return "their inboxes were closed"
	}
	return fmt.Sprintf("inboxes live %v", c.InboxTTL)
}

// happens names what happens once per period.
var happens = map[string]string{"poll": "empty poll", "stream": "comment", "socket": "ping"}

// baseline describes a server before peers wait.
type baseline struct {
	fresh int64 // resident memory after a few requests
	start int64 // resident memory after some work, to which it should return
	fds   int
}

func readBaseline(e *env, p *process) (b baseline, err error) {
	if err = trickle(e, p, 1000, 50*time.Millisecond, nil); err != nil {
		return b, err
	}
	if b.fresh, err = e.settle(p, time.Second, 3*time.Second); err != nil {
		return b, err
	}
	if err = trickle(e, p, 1000, time.Second, nil); err != nil {
		return b, err
	}
	if b.start, err = e.settle(p, time.Second, 5*time.Second); err != nil {
		return b, err
	}
	b.fds, err = fdsOf(p.pid)
	return b, err
}

func openingGoal(transport string) *float64 {
	if transport == "socket" {
		return new(100.0)
	}
	return nil
}

// after measures what remains of the peers.
func (c *waitingCommand) after(e *env, w *waiting, group string, before baseline, goroutines map[string]int) error {
	e.say("waiting: all leave")
	w.leave()
	began := time.Now()
	if c.Close {
		if err := w.closeInboxes(); err != nil {
			return err
		}
	}
	var left int64
	err := trickle(e, w.server, c.Others, c.After, func() (done bool, err error) {
		left, err = rssOf(w.server.pid)
		return float64(left) <= 1.2*float64(before.start), err
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	if err := e.sleep(500 * time.Millisecond); err != nil { // until the last disconnect is noticed
		return err
	}
	fdsLeft, err := fdsOf(w.server.pid)
	if err = errors.Join(err, w.server.alive()); err != nil {
		return err
	}
	goroutinesLeft, err := w.server.dump()
	if err != nil {
		return err
	}
	e.report.add(row{Group: group, What: "memory after they left", Unit: "MB", Measured: float64(left) / 1e6,
		Goal: new(1.2), OfRatio: true, Against: "at the start", Baseline: float64(before.start) / 1e6, Ratio: float64(left) / float64(before.start),
		Note: fmt.Sprintf("after %.0f s; %s", took.Seconds(), c.gone())})
	e.report.count(group, "descriptors left", max(0, fdsLeft-before.fds), fmt.Sprintf("%d at the start, %d after", before.fds, fdsLeft))
	n, which := more(goroutinesLeft, goroutines)
	e.report.count(group, "goroutines left", n, which)
	return nil
}

func (c *waitingCommand) server(e *env) (*process, error) {
	return e.serve(fmt.Sprintf("--inbox-ttl=%v", c.InboxTTL))
}

// goroutinesAtRest counts the goroutines of a separate server, since counting ends it.
// One peer has waited there, since the first may start goroutines that serve all.
func (c *waitingCommand) goroutinesAtRest(e *env, transport string) (map[string]int, error) {
	server, err := c.server(e)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	one := &waitingCommand{Peers: 1}
	w := one.waiting(e, server, transport)
	if err := w.openPeer(0); err != nil {
		return nil, err
	}
	if err := trickle(e, server, 1000, 300*time.Millisecond, nil); err != nil {
		return nil, err
	}
	w.leave()
	if err := e.sleep(500 * time.Millisecond); err != nil {
		return nil, err
	}
	return server.dump()
}

// more returns how many goroutines were added, and which.
func more(now, before map[string]int) (n int, which string) {
	for _, maker := range slices.Sorted(maps.Keys(now)) {
		if d := now[maker] - before[maker]; d > 0 {
			n += d
			which += fmt.Sprintf("%d of %s; ", d, maker)
		}
	}
	return n, strings.TrimSuffix(which, "; ")
}

// trickle performs cycles at a rate, for d or until done returns true.
func trickle(e *env, p *process, rate int, d time.Duration, done func() (bool, error)) error {
	t := new(target)
	for i := range min(rate, 2) {
		cy, err := dialCycler(e, p, i, false, 1024, d+30*time.Second)
		if err != nil {
			return err
		}
		defer cy.Close()
		if err := cy.open(); err != nil {
			return err
		}
		cy.every, cy.next = 2*time.Second/time.Duration(rate), time.Now()
		t.cyclers = append(t.cyclers, cy)
	}
	load := spin(t.cyclers, (*cycler).timed)
	var err error
	for end := time.Now().Add(d); err == nil && time.Now().Before(end); {
		if err = e.sleep(min(500*time.Millisecond, max(0, time.Until(end)))); done != nil && err == nil {
			var enough bool
			if enough, err = done(); enough {
				break
			}
		}
	}
	return errors.Join(err, load.stop())
}
