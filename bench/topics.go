package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// topicsCommand measures clients of y-webrtc and of WebTorrent's tracker, at inbox and at
// these projects' own servers.
type topicsCommand struct {
	Module      string        `default:"../web/topics/node_modules/y-webrtc/bin/server.js" placeholder:"FILE" help:"Path of y-webrtc's server, as installed by npm ci in web/topics."`
	Tracker     string        `default:"../web/topics/tracker-server.mjs" placeholder:"FILE" help:"Path of a script that runs bittorrent-tracker's server."`
	Idle        int           `default:"10000" help:"Idle clients: with three topics each, or in one swarm."`
	Subscribers int           `default:"20" help:"Subscribers of the topic."`
	InFlight    []int         `default:"1,4" help:"Publications in flight, each by another subscriber."`
	Offers      int           `default:"10" help:"Offers of an announce, at most 82."`
	Body        int           `default:"400" help:"Size of a publication's data in bytes. An offer has five times as many."`
	Round       time.Duration `default:"500ms" help:"Length of a round."`
	Rounds      int           `default:"11" help:"Rounds per server."`
	Samples     int           `default:"1000" help:"Publications from one server to another, over Redis."`
	Settle      time.Duration `default:"10s" help:"How long floods last before the delivery next to them is measured."`
	Program     string        `default:"redis-server" help:"Redis or Valkey executable."`
	Only        []string      `default:"copies,across,crowd,idle" enum:"copies,across,crowd,idle" help:"What to measure: CPU per copy, latency over Redis, delivery next to floods and stuck clients, memory."`
}

const topicsGroup = "topics: server CPU and memory of y-webrtc and WebTorrent clients"

// topicClients are the clients of one protocol.
type topicClients struct {
	name    string
	against string // the server to compare with
	theirs  func(e *env) (*process, error)
	open    func(c *conn, i int) (*socket, error) // with a topic that all share

	frame        []byte // of a client; each client gets one frame for it
	inFlight     []int  // how many clients send their frames at a time
	bare         bool   // also compare with a bare fan
	part         string // of each of these frames
	what, note   string
	clients      int
	copies       int // that the frames are counted as
	idle         func(c *conn, prefix string, i int) error
	memory, each string // what the idle ones are
}

func (c *topicsCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	of := func(measure func(*env, topicClients) error, clients topicClients) func(*env) error {
		return func(e *env) error { return measure(e, clients) }
	}
	for _, m := range []struct {
		name    string
		measure func(*env) error
	}{
		{"copies", of(c.copies, c.yWebRTC())}, {"copies", of(c.copies, c.webTorrent())}, {"across", c.across}, {"crowd", c.crowds},
		{"idle", of(c.idle, c.yWebRTC())}, {"idle", of(c.idle, c.webTorrent())},
	} {
		if !slices.Contains(c.Only, m.name) {
			continue
		}
		if err := m.measure(e); err != nil {
			return fmt.Errorf("topics: %s: %w", m.name, err)
		}
	}
	return nil
}

// serve starts inbox. Idle peers share few swarms, which are larger than usual.
func (c *topicsCommand) serve(e *env) (*process, error) {
	return e.serve("--limits=off", "--tracker", "--topic-subscribers=100000")
}

func (c *topicsCommand) yWebRTC() topicClients {
	return topicClients{
		name: "y-webrtc", against: "y-webrtc's server", theirs: c.theirs, clients: c.Subscribers,
		open: inRoom, inFlight: c.InFlight, bare: true,
		frame: []byte(`{"type":"publish","topic":"room","data":"` + strings.Repeat("x", c.Body) + `","clients":1}`),
		part:  `"clients":`, copies: c.Subscribers,
		what: "a copy of a publication", note: fmt.Sprintf("%s, %d bytes", plural(c.Subscribers, "subscriber"), c.Body),
		idle: func(conn *conn, prefix string, i int) error {
			_, err := openYWebRTC(conn, fmt.Sprintf(`"%s own %d","%s pair %d","%s all"`, prefix, i, prefix, i/20, prefix[:1]+fmt.Sprint(i/500)))
			return err
		},
		memory: "an idle subscriber", each: "with three topics each",
	}
}

func (c *topicsCommand) theirs(e *env) (*process, error) {
	return e.node("web/topics", filepath.Join(e.Source, "bench", "y-webrtc-server.mjs"), c.Module)
}

// inRoom opens a y-webrtc client's socket with one subscription.
func inRoom(c *conn, _ int) (*socket, error) { return openYWebRTC(c, `"room"`) }

// anySocket opens a socket at a server that only forwards frames.
func anySocket(c *conn, _ int) (*socket, error) { return upgrade(c, upgradeRequest("/", "")) }

// room is a topic with its subscribers at one server.
type room struct {
	p       *process
	conns   []*conn
	sockets []*socket
}

// openRoom opens the sockets of n clients.
func openRoom(e *env, p *process, n int, open func(*conn, int) (*socket, error)) (*room, error) {
	r := &room{p: p, conns: make([]*conn, n), sockets: make([]*socket, n)}
	for i := range r.sockets {
		var err error
		if r.conns[i], err = dialSized(e.ctx, p.addr, i, time.Hour, 4<<10); err != nil {
			return r, err
		}
		if r.sockets[i], err = open(r.conns[i], i); err != nil {
			return r, err
		}
	}
	return r, nil
}

// measure sends the frames of some clients for a round, again after every client has got its
// frames.
func (r *room) measure(round time.Duration, c topicClients, inFlight int) (sample, error) {
	before, err := r.p.cpu()
	if err != nil {
		return sample{}, err
	}
	copies := 0
	for end := time.Now().Add(round); time.Now().Before(end); {
		for _, s := range r.sockets[:inFlight] {
			if err := s.send(c.frame); err != nil {
				return sample{}, err
			}
		}
		var each sync.WaitGroup
		failed := make([]error, len(r.sockets))
		for i, s := range r.sockets {
			each.Go(func() {
				for range inFlight {
					got, err := s.next()
					if err == nil && !strings.Contains(string(got), c.part) {
						err = fmt.Errorf("a client got %.100s", got)
					}
					failed[i] = errors.Join(failed[i], err)
				}
			})
		}
		each.Wait()
		if err := errors.Join(failed...); err != nil {
			return sample{}, err
		}
		copies += c.copies * inFlight
	}
	after, err := r.p.cpu()
	return sample{micros: micros(after-before, copies)}, err
}

// copies measures the CPU for each copy of what a client sends: at inbox, at their own
// server and, if it does the same, at a bare fan.
func (c *topicsCommand) copies(e *env, clients topicClients) error {
	type server struct {
		start func(*env) (*process, error)
		open  func(*conn, int) (*socket, error)
	}
	servers := []server{{c.serve, clients.open}, {clients.theirs, clients.open}}
	if clients.bare {
		servers = append(servers, server{func(e *env) (*process, error) { return e.bare("bare-fan") }, anySocket})
	}
	var rooms []*room
	for _, s := range servers {
		p, err := s.start(e)
		if err != nil {
			return err
		}
		defer p.stop()
		r, err := openRoom(e, p, clients.clients, s.open)
		defer hangUp(r.conns)
		if err != nil {
			return err
		}
		rooms = append(rooms, r)
	}
	for _, inFlight := range clients.inFlight {
		e.say("topics: %s, %s, %d in flight", clients.name, clients.note, inFlight)
		samples := make([][]sample, len(rooms))
		for n := range c.Rounds {
			for k := range rooms {
				i := (n + k) % len(rooms)
				s, err := rooms[i].measure(c.Round, clients, inFlight)
				if err != nil {
					return errors.Join(err, rooms[i].p.alive())
				}
				samples[i] = append(samples[i], s)
			}
		}
		for i, what := range []string{fmt.Sprintf("%s, %d in flight", clients.what, inFlight), "the same by a bare fan"} {
			if 2*i >= len(samples) {
				continue
			}
			own, base, ratios := compared(samples[2*i], samples[1])
			r := row{Group: topicsGroup, What: what, Unit: "µs", Measured: own, Against: clients.against, Baseline: base, Ratio: median(ratios),
				Note: fmt.Sprintf("%s; ratios %.2f to %.2f, %s", clients.note, ratios[0], ratios[len(ratios)-1], spread(ratios))}
			if clients.bare && i == 0 {
				r.Goal, r.OfRatio = new(0.5), true
			}
			e.report.add(r)
		}
	}
	return nil
}

// idle measures the memory of idle clients.
func (c *topicsCommand) idle(e *env, clients topicClients) error {
	e.say("topics: %s of %s that are idle", plural(c.Idle, "client"), clients.name)
	secure := func(e *env) (*process, error) {
		return e.serve("--limits=off", "--tracker", "--topic-subscribers=100000", "--tls=self-signed")
	}
	var figures [3]float64
	for i, open := range []func(*env) (*process, error){c.serve, clients.theirs, secure} {
		var err error
		if figures[i], err = c.resident(e, open, clients.idle); err != nil {
			return err
		}
	}
	e.report.add(row{Group: topicsGroup, What: "resident memory of " + clients.memory, Unit: "bytes", Measured: figures[0], Goal: new(2.0 * 1024),
		Against: clients.against, Baseline: figures[1], Ratio: figures[0] / figures[1], Note: fmt.Sprintf("%s, %s", plural(c.Idle, "client"), clients.each)})
	e.report.add(row{Group: topicsGroup, What: "the same over TLS", Unit: "bytes", Measured: figures[2]})
	return nil
}

func (c *topicsCommand) resident(e *env, open func(*env) (*process, error), join func(c *conn, prefix string, i int) error) (float64, error) {
	p, err := open(e)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	subscribe := func(n int, prefix string) ([]*conn, error) {
		conns := make([]*conn, n)
		return conns, inParallel(8, n, func(i int) (err error) {
			if conns[i], err = p.dial(e.ctx, i, 5*time.Minute, 512); err != nil {
				return err
			}
			return join(conns[i], prefix, i)
		})
	}
	warm, err := subscribe(100, "warm")
	hangUp(warm)
	if err != nil {
		return 0, err
	}
	fresh, err := e.settle(p, 2*time.Second, 6*time.Second)
	if err != nil {
		return 0, err
	}
	conns, err := subscribe(c.Idle, "idle")
	defer hangUp(conns)
	if err != nil {
		return 0, errors.Join(err, p.alive())
	}
	waiting, err := e.settle(p, collects, 30*time.Second)
	return float64(waiting-fresh) / float64(c.Idle), errors.Join(err, p.alive())
}

// openYWebRTC opens a y-webrtc client's socket with subscriptions, and waits until the
// server has them.
func openYWebRTC(c *conn, topics string) (*socket, error) {
	s, err := upgrade(c, upgradeRequest("/yjs", ""))
	if err != nil {
		return nil, err
	}
	if err := s.send([]byte(`{"type":"subscribe","topics":[` + topics + `]}`)); err != nil {
		return nil, err
	}
	if err := s.send([]byte(`{"type":"ping"}`)); err != nil {
		return nil, err
	}
	answer, err := s.next()
	if err == nil && string(answer) != `{"type":"pong"}` {
		err = fmt.Errorf("a y-webrtc socket: %.200s", answer)
	}
	return s, err
}
