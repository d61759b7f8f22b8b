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

// topicsCommand measures y-webrtc clients, at inbox and at y-webrtc's own server.
type topicsCommand struct {
	Module      string        `default:"../web/topics/node_modules/y-webrtc/bin/server.js" placeholder:"FILE" help:"Path of y-webrtc's server, as installed by npm ci in web/topics."`
	Idle        int           `default:"10000" help:"Idle subscribers with three topics each; 0 skips them."`
	Subscribers int           `default:"20" help:"Subscribers of the topic."`
	Body        int           `default:"400" help:"Size of a publication's data in bytes."`
	Round       time.Duration `default:"500ms" help:"Length of a round."`
	Rounds      int           `default:"11" help:"Rounds per server."`
}

const topicsGroup = "topics: server CPU and memory of y-webrtc clients"

func (c *topicsCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	if err := c.copies(e); err != nil {
		return fmt.Errorf("topics: %w", err)
	}
	if c.Idle == 0 {
		return nil
	}
	return c.idle(e)
}

func (c *topicsCommand) serve(e *env) (*process, error) {
	return e.serve("--limits=off")
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
	p, err := start(e.ctx, e.server, e.load, node, filepath.Join(e.Source, "bench", "y-webrtc-server.mjs"), module)
	if err != nil {
		return nil, fmt.Errorf("cannot run y-webrtc's server (to install it, run npm ci in web/topics): %w", err)
	}
	return p, nil
}

// room is a topic with its subscribers at one server.
type room struct {
	p       *process
	conns   []*conn
	sockets []*socket
}

func (c *topicsCommand) room(e *env, p *process) (*room, error) {
	r := &room{p: p, conns: make([]*conn, c.Subscribers), sockets: make([]*socket, c.Subscribers)}
	for i := range r.sockets {
		var err error
		if r.conns[i], err = dialSized(e.ctx, p.addr, i, time.Hour, 4<<10); err != nil {
			return r, err
		}
		if r.sockets[i], err = openYWebRTC(r.conns[i], `"room"`); err != nil {
			return r, err
		}
	}
	return r, nil
}

// measure publishes for a round, one publication after the other, and checks every copy.
func (r *room) measure(round time.Duration, frame []byte) (sample, error) {
	before, err := r.p.cpu()
	if err != nil {
		return sample{}, err
	}
	copies := 0
	for end := time.Now().Add(round); time.Now().Before(end); {
		if err := r.sockets[0].send(frame); err != nil {
			return sample{}, err
		}
		var each sync.WaitGroup
		failed := make([]error, len(r.sockets))
		for i, s := range r.sockets {
			each.Go(func() {
				got, err := s.next()
				if err == nil && !strings.Contains(string(got), `"clients":`) {
					err = fmt.Errorf("a subscriber got %.100s", got)
				}
				failed[i] = err
			})
		}
		each.Wait()
		if err := errors.Join(failed...); err != nil {
			return sample{}, err
		}
		copies += len(r.sockets)
	}
	after, err := r.p.cpu()
	return sample{micros: micros(after-before, copies)}, err
}

// copies measures the CPU for each copy that a subscriber gets.
func (c *topicsCommand) copies(e *env) error {
	e.say("topics: %s, %d bytes", plural(c.Subscribers, "subscriber"), c.Body)
	frame := []byte(`{"type":"publish","topic":"room","data":"` + strings.Repeat("x", c.Body) + `"}`)
	var rooms []*room
	var samples [2][]sample
	for _, open := range []func(*env) (*process, error){c.serve, c.theirs} {
		p, err := open(e)
		if err != nil {
			return err
		}
		defer p.stop()
		r, err := c.room(e, p)
		defer hangUp(r.conns)
		if err != nil {
			return err
		}
		rooms = append(rooms, r)
	}
	for range c.Rounds {
		for i, r := range rooms {
			s, err := r.measure(c.Round, frame)
			if err != nil {
				return errors.Join(err, r.p.alive())
			}
			samples[i] = append(samples[i], s)
		}
	}
	own, base, ratios := compared(samples[0], samples[1])
	e.report.add(row{Group: topicsGroup, What: "a copy of a publication", Unit: "µs", Measured: own,
		Against: "y-webrtc's server", Baseline: base, Ratio: median(ratios),
		Note: fmt.Sprintf("%s, %d bytes; goal 0.5 ×; %s", plural(c.Subscribers, "subscriber"), c.Body, spread(ratios))})
	return nil
}

// idle measures the memory of idle subscribers, each with a separate topic.
func (c *topicsCommand) idle(e *env) error {
	e.say("topics: %s that are idle", plural(c.Idle, "subscriber"))
	var figures [2]float64
	for i, open := range []func(*env) (*process, error){c.serve, c.theirs} {
		var err error
		if figures[i], err = c.resident(e, open); err != nil {
			return fmt.Errorf("topics: %w", err)
		}
	}
	e.report.add(row{Group: topicsGroup, What: "resident memory of an idle subscriber", Unit: "bytes", Measured: figures[0], Goal: new(2.0 * 1024),
		Against: "y-webrtc's server", Baseline: figures[1], Ratio: figures[0] / figures[1], Note: fmt.Sprintf("%s, with three topics each", plural(c.Idle, "subscriber"))})
	return nil
}

func (c *topicsCommand) resident(e *env, open func(*env) (*process, error)) (float64, error) {
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
			_, err = openYWebRTC(conns[i], fmt.Sprintf(`"%s own %d","%s pair %d","%s all"`, prefix, i, prefix, i/20, prefix[:1]+fmt.Sprint(i/500)))
			return err
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
	s, err := upgrade(c, "GET /yjs HTTP/1.1\r\nHost: localhost\r\n"+
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
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
