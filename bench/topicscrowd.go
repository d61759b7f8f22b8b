package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

const (
	floodAddresses   = 2
	floodSubscribers = 20 // of each flooding publisher

	stuckSubscribers = 50
	fedBody          = 4 << 10
	fedPause         = 10 * time.Millisecond // between publications to them
)

// delivery is how a room of well-behaved clients fares.
type delivery struct {
	took      []time.Duration // of publications at a quiet rate, sorted
	perSecond float64         // publications, one after the other without a pause
	rss       int64
}

func (d delivery) String() string {
	return fmt.Sprintf("median %.2f ms, 99 %% %.2f ms, %.0f/s", percentile(d.took, 50), percentile(d.took, 99), d.perSecond)
}

// deliveries are the situations of the well-behaved room.
type deliveries struct{ alone, burst, flood, stuck delivery }

// crowds measures a room of well-behaved clients alone, with publishers at other addresses
// that publish as fast as they can, and with subscribers that read nothing.
func (c *topicsCommand) crowds(e *env) error {
	e.say("topics: a room next to floods and stuck clients")
	ours, err := c.withCrowds(e, func(e *env) (*process, error) { return e.serve("--limit-copies=20000/s,burst=200000") })
	if err != nil {
		return err
	}
	theirs, err := c.withCrowds(e, c.theirs)
	if err != nil {
		return err
	}
	for _, q := range []struct {
		what string
		of   func(deliveries) delivery
		note string
	}{
		{fmt.Sprintf("median next to %d flooding addresses", floodAddresses), func(d deliveries) delivery { return d.flood }, ""},
		{"the same before they reach their limits", func(d deliveries) delivery { return d.burst }, ""},
		{fmt.Sprintf("median next to %d subscribers that read nothing", stuckSubscribers), func(d deliveries) delivery { return d.stuck },
			fmt.Sprintf("; resident: %d MB, y-webrtc's server %d MB", ours.stuck.rss>>20, theirs.stuck.rss>>20)},
	} {
		with, alone := percentile(q.of(ours).took, 50), percentile(ours.alone.took, 50)
		e.report.add(row{Group: "topics: delivery to a room of well-behaved clients", What: q.what, Unit: "ms", Measured: with, Against: "alone", Baseline: alone,
			Ratio: with / alone, OfRatio: true, Goal: new(2.0),
			Note: fmt.Sprintf("%v; alone %v; y-webrtc's server: %v; alone %v%s", q.of(ours), ours.alone, q.of(theirs), theirs.alone, q.note)})
	}
	return nil
}

func (c *topicsCommand) withCrowds(e *env, open func(*env) (*process, error)) (b deliveries, err error) {
	p, err := open(e)
	if err != nil {
		return b, err
	}
	defer p.stop()
	r, err := openRoom(e, p, 5, inRoom)
	defer hangUp(r.conns)
	if err != nil {
		return b, err
	}
	if b.alone, err = c.deliver(e, r); err != nil {
		return b, err
	}
	flood, err := e.crowd(p, "flood")
	if err != nil {
		return b, err
	}
	defer flood.stop()
	if b.burst, err = c.deliver(e, r); err != nil {
		return b, err
	}
	if err := e.sleep(c.Settle); err != nil { // until the addresses have used up their bursts
		return b, err
	}
	if b.flood, err = c.deliver(e, r); err != nil {
		return b, err
	}
	if err := flood.alive(); err != nil {
		return b, err
	}
	flood.stop()
	if err := e.rest(p, c.Settle); err != nil {
		return b, err
	}
	stuck, err := e.crowd(p, "stuck")
	if err != nil {
		return b, err
	}
	defer stuck.stop()
	if err := e.sleep(c.Settle / 2); err != nil {
		return b, err
	}
	b.stuck, err = c.deliver(e, r)
	return b, errors.Join(err, stuck.alive(), p.alive())
}

// crowd starts clients of p that disturb others.
func (e *env) crowd(p *process, kind string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(e.ctx, e.load, e.load, self, "bare-crowd", p.addr, kind)
}

// deliver measures publications to a room, first at a quiet rate and then without a pause.
func (c *topicsCommand) deliver(e *env, r *room) (d delivery, err error) {
	const each = 2 * time.Second
	frame := []byte(`{"type":"publish","topic":"room","data":"` + strings.Repeat("x", c.Body) + `"}`)
	publish := func() error {
		if err := r.sockets[0].send(frame); err != nil {
			return err
		}
		for _, s := range r.sockets {
			if _, err := s.next(); err != nil {
				return err
			}
		}
		return nil
	}
	for end := time.Now().Add(each); time.Now().Before(end); {
		begin := time.Now()
		if err := publish(); err != nil {
			return d, err
		}
		d.took = append(d.took, time.Since(begin))
		if err := e.sleep(quietPause); err != nil {
			return d, err
		}
	}
	n, begin := 0, time.Now()
	for ; time.Since(begin) < each; n++ {
		if err := publish(); err != nil {
			return d, err
		}
	}
	d.perSecond = float64(n) / time.Since(begin).Seconds()
	slices.Sort(d.took)
	d.rss, err = rssOf(r.p.pid)
	return d, err
}

// bareCrowdCommand are the clients that disturb others: a separate process, so that they do
// not delay the clients that are measured.
type bareCrowdCommand struct {
	Addr string `arg:""`
	Kind string `arg:"" enum:"flood,stuck"`
}

func (c *bareCrowdCommand) Run() error {
	debug.SetGCPercent(100)
	fmt.Fprintln(os.Stderr, "url=http://started/")
	failed := make(chan error)
	if c.Kind == "stuck" {
		for i := range stuckSubscribers {
			go c.stuck(i)
		}
		go func() { failed <- c.feed() }()
	}
	for i := range floodAddresses {
		if c.Kind == "flood" {
			go func() { failed <- c.flood(i) }()
		}
	}
	return <-failed
}

// join subscribes to a topic from the given address.
func (c *bareCrowdCommand) join(from byte, topic string, control func(network, address string, raw syscall.RawConn) error) (*socket, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 2, from)}, Control: control}
	conn, err := dialFrom(context.Background(), c.Addr, d, 10*time.Minute, 4<<10)
	if err != nil {
		return nil, err
	}
	return openYWebRTC(conn, `"`+topic+`"`)
}

// flood publishes as fast as the server reads, to subscribers that read everything.
func (c *bareCrowdCommand) flood(i int) error {
	topic := fmt.Sprint("flood ", i)
	for range floodSubscribers {
		go c.subscribe(byte(i+1), topic)
	}
	s, err := c.join(byte(i+1), topic+"-", nil)
	if err != nil {
		return err
	}
	go readAll(s)
	frame := appendFrame(nil, ws.OpText, fmt.Appendf(nil, `{"type":"publish","topic":"%s","data":"%s"}`, topic, strings.Repeat("x", 400)))
	for some := bytes.Repeat(frame, 16); ; {
		if _, err := s.Write(some); err != nil {
			return err
		}
	}
}

// subscribe reads everything. It reconnects when it is disconnected, as this process may read
// more slowly than the server writes.
func (c *bareCrowdCommand) subscribe(from byte, topic string) {
	for {
		if s, err := c.join(from, topic, nil); err == nil {
			readAll(s)
			s.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// readAll reads until the connection ends. It answers pings.
func readAll(s *socket) {
	for {
		if _, err := s.next(); err != nil {
			return
		}
	}
}

// stuck subscribes and reads nothing. Like a browser, it reconnects when it is disconnected.
func (c *bareCrowdCommand) stuck(i int) {
	small := func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}
	for {
		s, err := c.join(byte(101+i), "stuck", small)
		for err == nil {
			time.Sleep(200 * time.Millisecond)
			_, err = s.Write(appendFrame(nil, ws.OpPing, nil))
		}
		if s != nil {
			s.Close()
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// feed publishes to the stuck subscribers.
func (c *bareCrowdCommand) feed() error {
	s, err := c.join(100, "fed", nil)
	if err != nil {
		return err
	}
	go readAll(s)
	for {
		if err := s.send([]byte(`{"type":"publish","topic":"stuck","data":"` + strings.Repeat("x", fedBody) + `"}`)); err != nil {
			return err
		}
		time.Sleep(fedPause)
	}
}
