package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// topicsCommand measures clients of y-webrtc and of WebTorrent's tracker, at inbox and at
// these projects' own servers.
type topicsCommand struct {
	Module      string        `default:"../web/topics/node_modules/y-webrtc/bin/server.js" placeholder:"FILE" help:"Path of y-webrtc's server, as installed by npm ci in web/topics."`
	Tracker     string        `default:"../web/topics/tracker-server.mjs" placeholder:"FILE" help:"Path of a script that runs bittorrent-tracker's server."`
	Idle        int           `default:"10000" help:"Idle clients: with three topics each, or in one swarm; 0 skips them."`
	Subscribers int           `default:"20" help:"Subscribers of the topic."`
	Offers      int           `default:"10" help:"Offers of an announce, at most 82."`
	Body        int           `default:"400" help:"Size of a publication's data in bytes. An offer has five times as many."`
	Round       time.Duration `default:"500ms" help:"Length of a round."`
	Rounds      int           `default:"11" help:"Rounds per server."`
}

const topicsGroup = "topics: server CPU and memory of y-webrtc and WebTorrent clients"

// topicClients are the clients of one protocol.
type topicClients struct {
	name    string
	against string // the server to compare with
	theirs  func(e *env) (*process, error)
	open    func(c *conn, i int) (*socket, error) // with a topic that all share

	frame        []byte // of the first client; each client gets one frame for it
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
	for _, clients := range []topicClients{c.yWebRTC(), c.webTorrent()} {
		if err := c.copies(e, clients); err != nil {
			return fmt.Errorf("topics: %w", err)
		}
		if c.Idle == 0 {
			continue
		}
		if err := c.idle(e, clients); err != nil {
			return fmt.Errorf("topics: %w", err)
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
		open:  func(conn *conn, _ int) (*socket, error) { return openYWebRTC(conn, `"room"`) },
		frame: []byte(`{"type":"publish","topic":"room","data":"` + strings.Repeat("x", c.Body) + `"}`),
		part:  `"clients":`, copies: c.Subscribers,
		what: "a copy of a publication", note: fmt.Sprintf("%s, %d bytes; goal 0.5 ×", plural(c.Subscribers, "subscriber"), c.Body),
		idle: func(conn *conn, prefix string, i int) error {
			_, err := openYWebRTC(conn, fmt.Sprintf(`"%s own %d","%s pair %d","%s all"`, prefix, i, prefix, i/20, prefix[:1]+fmt.Sprint(i/500)))
			return err
		},
		memory: "an idle subscriber", each: "with three topics each",
	}
}

func (c *topicsCommand) theirs(e *env) (*process, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, err
	}
	module, err := filepath.Abs(c.Module)
	if err != nil {
		return nil, err
	}
	return c.script(e, "y-webrtc's server", node, filepath.Join(e.Source, "bench", "y-webrtc-server.mjs"), module)
}

// script starts a server of another project, which npm has installed.
func (c *topicsCommand) script(e *env, name, path string, args ...string) (*process, error) {
	p, err := start(e.ctx, e.server, e.load, path, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot run %s (to install it, run npm ci in web/topics): %w", name, err)
	}
	return p, nil
}

// room is a topic with its subscribers at one server.
type room struct {
	p       *process
	conns   []*conn
	sockets []*socket
}

func (c *topicClients) room(e *env, p *process) (*room, error) {
	r := &room{p: p, conns: make([]*conn, c.clients), sockets: make([]*socket, c.clients)}
	for i := range r.sockets {
		var err error
		if r.conns[i], err = dialSized(e.ctx, p.addr, i, time.Hour, 4<<10); err != nil {
			return r, err
		}
		if r.sockets[i], err = c.open(r.conns[i], i); err != nil {
			return r, err
		}
	}
	return r, nil
}

// measure sends a client's frame for a round, again after every client has got its frame.
func (r *room) measure(round time.Duration, c topicClients) (sample, error) {
	before, err := r.p.cpu()
	if err != nil {
		return sample{}, err
	}
	copies := 0
	for end := time.Now().Add(round); time.Now().Before(end); {
		if err := r.sockets[0].send(c.frame); err != nil {
			return sample{}, err
		}
		var each sync.WaitGroup
		failed := make([]error, len(r.sockets))
		for i, s := range r.sockets {
			each.Go(func() {
				got, err := s.next()
				if err == nil && !strings.Contains(string(got), c.part) {
					err = fmt.Errorf("a client got %.100s", got)
				}
				failed[i] = err
			})
		}
		each.Wait()
		if err := errors.Join(failed...); err != nil {
			return sample{}, err
		}
		copies += c.copies
	}
	after, err := r.p.cpu()
	return sample{micros: micros(after-before, copies)}, err
}

// copies measures the CPU for each copy of what a client sends.
func (c *topicsCommand) copies(e *env, clients topicClients) error {
	e.say("topics: %s, %s", clients.name, clients.note)
	var rooms []*room
	var samples [2][]sample
	for _, open := range []func(*env) (*process, error){c.serve, clients.theirs} {
		p, err := open(e)
		if err != nil {
			return err
		}
		defer p.stop()
		r, err := clients.room(e, p)
		defer hangUp(r.conns)
		if err != nil {
			return err
		}
		rooms = append(rooms, r)
	}
	for range c.Rounds {
		for i, r := range rooms {
			s, err := r.measure(c.Round, clients)
			if err != nil {
				return errors.Join(err, r.p.alive())
			}
			samples[i] = append(samples[i], s)
		}
	}
	own, base, ratios := compared(samples[0], samples[1])
	e.report.add(row{Group: topicsGroup, What: clients.what, Unit: "µs", Measured: own,
		Against: clients.against, Baseline: base, Ratio: median(ratios), Note: clients.note + "; " + spread(ratios)})
	return nil
}

// idle measures the memory of idle clients.
func (c *topicsCommand) idle(e *env, clients topicClients) error {
	e.say("topics: %s of %s that are idle", plural(c.Idle, "client"), clients.name)
	var figures [2]float64
	for i, open := range []func(*env) (*process, error){c.serve, clients.theirs} {
		var err error
		if figures[i], err = c.resident(e, open, clients.idle); err != nil {
			return err
		}
	}
	e.report.add(row{Group: topicsGroup, What: "resident memory of " + clients.memory, Unit: "bytes", Measured: figures[0], Goal: new(2.0 * 1024),
		Against: clients.against, Baseline: figures[1], Ratio: figures[0] / figures[1], Note: fmt.Sprintf("%s, %s", plural(c.Idle, "client"), clients.each)})
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
			if conns[i], err = dialSized(e.ctx, p.addr, i, 5*time.Minute, 512); err != nil {
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

// plainUpgrade requests a WebSocket without a subprotocol, after the path.
const plainUpgrade = " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// openYWebRTC opens a y-webrtc client's socket with subscriptions, and waits until the
// server has them.
func openYWebRTC(c *conn, topics string) (*socket, error) {
	s, err := upgrade(c, "GET /yjs"+plainUpgrade)
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
