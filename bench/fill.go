package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fillCommand makes one address fill the memory of a server in every known way, under the
// server's default limits.
type fillCommand struct {
	Kind  string        `placeholder:"TEXT" help:"Only run the ways whose name contains this."`
	N     int           `name:"n" default:"3000" help:"Connections that the address tries to open. Each takes a descriptor in both processes."`
	Quiet time.Duration `default:"3s" help:"How long the server may settle first."`
	Stuck time.Duration `default:"4s" help:"How long to measure afterwards."`
}

const fillGroup = "fill: resident memory that one address can make the server use"

// usual are the default limits of a server.
var usual = []string{
	"--limit-requests=300/s,burst=3000", "--limit-inboxes=10/s,burst=1000", "--limit-recipients=50/s,burst=3000",
	"--limit-connections=2000", "--limit-in-flight=16MiB", "--limit-memory=32MiB",
}

// maxFilled is the goal: how much memory one address may fill, in bytes.
const maxFilled = 64 << 20

func (c *fillCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	idle := func(*stuck, int) error { return nil }
	kinds := append(new(stuckCommand).kinds(),
		stuckKind{name: "silent connections", begin: idle},
		stuckKind{name: "silent connections, TLS", tls: true, begin: idle},
		stuckKind{name: "silent HTTP/2 connections", streams: 1, begin: idle},
		stuckKind{name: "silent HTTP/2 connections, TLS", tls: true, streams: 1, begin: idle},
		stuckKind{name: "HTTP/2, long polls", streams: 32, begin: func(s *stuck, i int) error { return s.stream(i, "GET", "?after=0", "*/*", nil) }},
		stuckKind{name: "HTTP/2, long polls, TLS", tls: true, streams: 32, begin: func(s *stuck, i int) error { return s.stream(i, "GET", "?after=0", "*/*", nil) }},
		stuckKind{name: "HTTP/1.1, long polls", begin: func(s *stuck, i int) error { return s.write(i, s.peers[i].get("?after=0")) }},
		stuckKind{name: "waiting sockets", begin: func(s *stuck, i int) error { return s.socket(i, nil) }},
		stuckKind{name: "waiting sockets, TLS", tls: true, begin: func(s *stuck, i int) error { return s.socket(i, nil) }},
		stuckKind{name: "messages in its own inboxes", inboxes: true, begin: idle},
		stuckKind{name: "PeerJS, messages to absent peers", begin: func(s *stuck, i int) error {
			message := fmt.Sprintf(`{"type":"OFFER","dst":"nobody","payload":"%s"}`, bytes.Repeat([]byte{'x'}, 60<<10))
			return s.peer(i, bytes.Repeat(appendFrame(nil, 1, []byte(message)), 16))
		}},
	)
	for _, k := range kinds {
		if !strings.Contains(k.name, c.Kind) {
			continue
		}
		e.say("fill: %s", k.name)
		if err := c.measure(e, k); err != nil {
			return fmt.Errorf("fill: %s: %w", k.name, err)
		}
	}
	return nil
}

func (c *fillCommand) measure(e *env, k stuckKind) error {
	flags := append([]string{"--inbox-ttl=1h", "--turn=off"}, usual...)
	if k.tls {
		flags = append(flags, "--tls=self-signed")
	}
	server, err := e.serve(flags...)
	if err != nil {
		return err
	}
	defer server.stop()
	s := &stuck{stuckKind: k, env: e, on: server}
	defer s.close()
	if s.other, err = s.dialOther(); err != nil {
		return err
	}
	s.from = net.IPv4(127, 0, 0, 99)
	before, err := e.settle(server, c.Quiet, 3*c.Quiet)
	if err != nil {
		return err
	}
	// Refusals are expected: the address continues after each.
	n := c.N
	if k.inboxes {
		n = min(n, 1000) // it may not open more at once
		s.fillAll(n)
	}
	for len(s.peers) < n {
		s.peers = append(s.peers, newPeer())
	}
	for i := range n {
		if k.streams == 0 || i%k.streams == 0 {
			if err := s.connect(); err != nil { // even if the server closes it immediately
				s.conns = append(s.conns, closedConn{})
			}
		}
	}
	began := s.beginAll(n)
	most := int64(0)
	for end := time.Now().Add(c.Stuck); time.Now().Before(end); {
		if err := e.sleep(100 * time.Millisecond); err != nil {
			return err
		}
		now, err := rssOf(server.pid)
		if err != nil {
			return err
		}
		most = max(most, now)
	}
	if err := server.alive(); err != nil {
		return err
	}
	e.report.add(row{Group: fillGroup, What: k.name, Unit: "MiB", Measured: float64(max(0, most-before)) / (1 << 20),
		Goal: new(float64(maxFilled) / (1 << 20)), Note: fmt.Sprintf("%d of %d attempts started: %s MB before, at most %s MB with them", began, n, megabytes(before), megabytes(most))})
	return nil
}

// closedConn stands for a connection that the server refused.
type closedConn struct{ net.Conn }

func (closedConn) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (closedConn) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (closedConn) Close() error                     { return nil }
func (closedConn) SetWriteDeadline(time.Time) error { return nil }
func (closedConn) SetReadDeadline(time.Time) error  { return nil }

// beginAll starts all clients, many concurrently, and returns how many succeeded.
func (s *stuck) beginAll(n int) int {
	var began atomic.Int64
	var all sync.WaitGroup
	one := func(i int) {
		if s.begin(s, i) == nil {
			began.Add(1)
		}
	}
	const workers = 64
	for w := range workers {
		all.Go(func() {
			// The clients of one connection start in order, and the last client starts
			// last.
			for i := range n - 1 {
				if i/max(1, s.streams)%workers == w {
					one(i)
				}
			}
		})
	}
	all.Wait()
	one(n - 1)
	return int(began.Load())
}

// fillAll opens inboxes and fills them until the server accepts no more.
func (s *stuck) fillAll(n int) {
	other, err := s.dialOther()
	if err != nil {
		return
	}
	defer other.Close()
	defer func(c *conn) { s.other = c }(s.other)
	s.other = other
	for range n {
		p := newPeer()
		if s.ask(p.get("?limit=0")) != nil {
			break
		}
		s.peers = append(s.peers, p)
	}
	body := bytes.Repeat([]byte{1}, stuckBody)
	for _, p := range s.peers {
		for range 16 { // 1 MiB
			if err := s.ask(s.peers[0].post(p.id, body)); err != nil {
				if errors.Is(err, io.EOF) {
					return
				}
				break
			}
		}
	}
}
