package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// peerjsCommand measures sockets of the PeerJS protocol, at inbox and at peerjs-server,
// in alternating rounds.
type peerjsCommand struct {
	Module   string        `default:"../web/peerjs/node_modules/peer/dist/index.cjs" placeholder:"FILE" help:"Path of peerjs-server, as installed by npm ci in web/peerjs."`
	Peers    int           `default:"10000" help:"Idle sockets. Each takes a descriptor in both processes; 0 skips them."`
	Pairs    int           `default:"64" help:"Pairs of sockets that exchange messages."`
	Body     int           `default:"400" help:"Size of a message in bytes; 400 is the mean of a handshake."`
	InFlight int           `default:"4" help:"Messages in flight per pair."`
	Round    time.Duration `default:"250ms" help:"Length of a round."`
	Rounds   int           `default:"15" help:"Rounds per server."`
	Openings int           `default:"1500" help:"Sockets to open."`
}

const peerjsGroup = "peerjs: server CPU and memory of PeerJS sockets"

func (c *peerjsCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	ours, err := e.serve("--max-inboxes=1000000")
	if err != nil {
		return err
	}
	defer ours.stop()
	theirs, err := c.theirs(e)
	if err != nil {
		return err
	}
	defer theirs.stop()
	bare, err := e.bare("bare-relay")
	if err != nil {
		return err
	}
	defer bare.stop()
	for _, measure := range []func(e *env, ours, theirs, bare *process) error{c.messages, c.openings} {
		if err := measure(e, ours, theirs, bare); err != nil {
			return fmt.Errorf("peerjs: %w", err)
		}
	}
	ours.stop()
	theirs.stop()
	if c.Peers == 0 {
		return nil
	}
	return c.idle(e)
}

func (c *peerjsCommand) theirs(e *env) (*process, error) {
	return e.node("web/peerjs", filepath.Join(e.Source, "bench", "peerjs-server.mjs"), c.Module)
}

// messages measures a message from socket to socket.
func (c *peerjsCommand) messages(e *env, ours, theirs, bare *process) error {
	e.say("peerjs: %s, %d bytes", plural(c.Pairs, "pair"), c.Body)
	r := &relayCommand{Pairs: c.Pairs, Body: c.Body, InFlight: c.InFlight, Round: c.Round, Rounds: c.Rounds}
	lines := []*line{{form: "peerjs", p: ours}, {form: "peerjs", p: theirs}, {p: bare}}
	for _, l := range lines {
		err := l.open(e, r)
		defer l.close()
		if err != nil {
			return err
		}
	}
	samples := make([][]sample, len(lines))
	for round := range c.Rounds {
		for i := range lines {
			k := (round + i) % len(lines)
			s, err := lines[k].measure(e, r)
			if err != nil {
				return errors.Join(err, lines[k].p.alive())
			}
			samples[k] = append(samples[k], s)
		}
	}
	own, base, ratios := compared(samples[0], samples[1])
	e.report.add(row{Group: peerjsGroup, What: "a message", Unit: "µs", Measured: own, Goal: new(7.0),
		Against: "peerjs-server", Baseline: base, Ratio: median(ratios),
		Note: fmt.Sprintf("%d pairs, %d bytes, %d in flight; %s", c.Pairs, c.Body, c.InFlight, rates(samples[0], samples[1]))})
	own, base, ratios = compared(samples[0], samples[2])
	e.report.add(row{Group: peerjsGroup, What: "the same", Unit: "µs", Measured: own,
		Against: "bare relay", Baseline: base, Ratio: median(ratios), Note: spread(ratios)})
	return nil
}

// openings measures the cost of opening a socket, in batches.
func (c *peerjsCommand) openings(e *env, ours, theirs, _ *process) error {
	e.say("peerjs: %d openings", c.Openings)
	const batches = 5
	measure := func(p *process) (sample, error) {
		conns := make([]*conn, max(1, c.Openings/batches))
		defer hangUp(conns)
		before, err := p.cpu()
		if err != nil {
			return sample{}, err
		}
		err = openPeers(e, p, conns, time.Minute)
		after, cpuErr := p.cpu()
		return sample{micros: micros(after-before, len(conns))}, errors.Join(err, cpuErr, p.alive())
	}
	var own, base []sample
	for range batches {
		for _, of := range []struct {
			p *process
			s *[]sample
		}{{ours, &own}, {theirs, &base}} {
			s, err := measure(of.p)
			if err != nil {
				return err
			}
			*of.s = append(*of.s, s)
			if err := e.rest(of.p, 3*time.Second); err != nil {
				return err
			}
		}
	}
	mine, other, ratios := compared(own, base)
	e.report.add(row{Group: peerjsGroup, What: "opening a socket", Unit: "µs", Measured: mine, Goal: new(100.0),
		Against: "peerjs-server", Baseline: other, Ratio: median(ratios), Note: "including the TCP connection"})
	return nil
}

// idle measures the memory of idle sockets.
func (c *peerjsCommand) idle(e *env) error {
	measure := func(p *process) (float64, error) {
		defer p.stop()
		warm := make([]*conn, 100)
		err := openPeers(e, p, warm, time.Minute)
		hangUp(warm)
		if err != nil {
			return 0, err
		}
		fresh, err := e.settle(p, 2*time.Second, 6*time.Second)
		if err != nil {
			return 0, err
		}
		conns := make([]*conn, c.Peers)
		defer hangUp(conns)
		if err := openPeers(e, p, conns, 5*time.Minute); err != nil {
			return 0, errors.Join(err, p.alive())
		}
		waiting, err := e.settle(p, collects, 30*time.Second)
		return float64(waiting-fresh) / float64(c.Peers), errors.Join(err, p.alive())
	}
	e.say("peerjs: %s that are idle", plural(c.Peers, "socket"))
	server, err := e.serve("--max-inboxes=1000000")
	if err != nil {
		return err
	}
	own, err := measure(server)
	if err != nil {
		return fmt.Errorf("peerjs: %w", err)
	}
	if server, err = c.theirs(e); err != nil {
		return err
	}
	base, err := measure(server)
	if err != nil {
		return fmt.Errorf("peerjs: %w", err)
	}
	e.report.add(row{Group: peerjsGroup, What: "resident memory of an idle socket", Unit: "bytes", Measured: own, Goal: new(5.0 * 1024),
		Against: "peerjs-server", Baseline: base, Ratio: own / base, Note: plural(c.Peers, "socket")})
	return nil
}

// openPeers opens a socket on each of conns, several concurrently.
func openPeers(e *env, p *process, conns []*conn, life time.Duration) error {
	return inParallel(8, len(conns), func(i int) (err error) {
		if conns[i], err = dialSized(e.ctx, p.addr, i, life, 512); err != nil {
			return err
		}
		_, err = openPeerJS(conns[i], newPeer())
		return err
	})
}

// openPeerJS opens a PeerJS client's socket and waits for its OPEN message.
func openPeerJS(c *conn, p peer) (*socket, error) {
	s, err := upgrade(c, upgradeRequest(fmt.Sprintf("/peerjs?key=peerjs&id=%s&token=%s&version=1.5.5", p.id, p.password), ""))
	if err != nil {
		return nil, err
	}
	opened, err := s.next()
	if err == nil && string(stringField(opened, "type")) != "OPEN" {
		err = fmt.Errorf("a PeerJS socket: %.200s", opened)
	}
	return s, err
}
