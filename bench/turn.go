package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// turnCommand measures the relay for calls: CPU per relayed packet against coturn, memory
// per allocation, and the cost of an unused relay.
type turnCommand struct {
	Pairs       int           `default:"4" help:"Pairs of clients."`
	Window      int           `default:"16" help:"Packets in flight per pair, few enough to avoid loss."`
	Bytes       int           `default:"120" help:"Payload of a packet in bytes: 120 is audio."`
	Round       time.Duration `default:"500ms" help:"Length of a round."`
	Rounds      int           `default:"11" help:"Rounds per relay."`
	Allocations int           `default:"1000" help:"Allocations for measuring memory."`
	Coturn      string        `default:"turnserver" placeholder:"FILE" help:"Path of coturn to compare with; skipped if it is missing."`
	Call        time.Duration `default:"60s" help:"Duration of a video call over TLS; 0: none."`
	Idle        time.Duration `default:"10s" help:"How long to measure an idle server."`
}

const turnGroup = "turn: the relay for calls"

// turnTarget is a relay to measure.
type turnTarget struct {
	*process
	addr string // for UDP
	tls  bool
	keys func(id int) (username, password string, err error)
}

func (c *turnCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	return errors.Join(c.packets(e), c.memory(e, false), c.memory(e, true), c.call(e), c.idle(e))
}

// unlimited are flags that disable the relay's limits, since the whole load comes from
// one machine.
var unlimited = []string{"--turn-listen=127.0.0.1:0", "--turn-rate=0", "--turn-rate-total=0", "--log-level=warn"}

func (c *turnCommand) ours(e *env, flags ...string) (*turnTarget, error) {
	p, err := e.serve(append(flags, "--log-level=info")...)
	if err != nil {
		return nil, err
	}
	t := &turnTarget{process: p}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	scheme := "http"
	if p.tls != nil {
		scheme, t.tls = "https", true
	}
	t.keys = func(id int) (string, string, error) {
		req, err := http.NewRequestWithContext(e.ctx, http.MethodGet, scheme+"://"+p.addr+"/ice", nil)
		if err != nil {
			return "", "", err
		}
		req.SetBasicAuth(fmt.Sprintf("turn-%d", id), "password")
		res, err := client.Do(req)
		if err != nil {
			return "", "", err
		}
		defer res.Body.Close()
		var answer struct {
			ICEServers []struct {
				URLs       []string
				Username   string
				Credential string
			}
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
			return "", "", fmt.Errorf("/ice: %s, %v", res.Status, err)
		}
		for _, s := range answer.ICEServers {
			if s.Username != "" {
				t.addr, _, _ = strings.Cut(strings.TrimPrefix(s.URLs[0], "turn:"), "?")
				return s.Username, s.Credential, nil
			}
		}
		return "", "", errors.New("/ice lists no relay")
	}
	if _, _, err := t.keys(0); err != nil {
		p.stop()
		return nil, err
	}
	return t, nil
}

// coturn starts coturn as an ordinary relay with one relay thread.
func (c *turnCommand) coturn(e *env) (*turnTarget, error) {
	path, err := exec.LookPath(c.Coturn)
	if err != nil {
		return nil, err
	}
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := free.LocalAddr().(*net.UDPAddr).Port
	free.Close()
	p := &process{done: make(chan struct{}), goroutines: map[string]int{}}
	p.cmd = exec.CommandContext(e.ctx, path, "-n", "--listening-ip=127.0.0.1", fmt.Sprintf("--listening-port=%d", port), "--relay-ip=127.0.0.1",
		"--allow-loopback-peers", "--lt-cred-mech", "--user=bench:bench", "--realm=inbox", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp",
		"--log-file=stdout", "--simple-log", "--relay-threads=1", "--pidfile=", "--min-port=20000", "--max-port=30000")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := pinned(e.server, e.load, p.cmd.Start); err != nil {
		return nil, err
	}
	p.pid = p.cmd.Process.Pid
	go func() { p.cmd.Wait(); close(p.done) }()
	t := &turnTarget{process: p, addr: fmt.Sprintf("127.0.0.1:%d", port),
		keys: func(int) (string, string, error) { return "bench", "bench", nil }}
	for range 50 {
		if e.sleep(100*time.Millisecond) != nil || p.alive() != nil {
			break
		}
		if client, err := t.open(e.ctx, 0); err == nil {
			client.leave()
			return t, nil
		}
	}
	p.stop()
	return nil, errors.New("coturn does not respond")
}

// open creates an allocation.
func (t *turnTarget) open(ctx context.Context, i int) (*turnClient, error) {
	username, password, err := t.keys(i / 8)
	if err != nil {
		return nil, err
	}
	c := &turnClient{username: username, password: password, realm: "inbox"}
	if t.tls {
		c.Conn, err = (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", t.process.addr)
	} else {
		// Unauthenticated responses are limited by source address.
		from := &net.UDPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i))}
		c.Conn, err = (&net.Dialer{LocalAddr: from}).DialContext(ctx, "udp4", t.addr)
	}
	if err != nil {
		return nil, err
	}
	if err := c.allocate(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// turnPair is two clients that send packets back and forth.
type turnPair struct{ clients [2]*turnClient }

func (t *turnTarget) pair(ctx context.Context, i int) (p *turnPair, err error) {
	p = new(turnPair)
	for k := range p.clients {
		if p.clients[k], err = t.open(ctx, 2*i+k); err != nil {
			p.close()
			return nil, err
		}
	}
	for k, c := range p.clients {
		if err := c.bind(p.clients[1-k].relayed); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *turnPair) close() {
	for _, c := range p.clients {
		if c != nil {
			c.leave()
		}
	}
}

// run keeps window packets in flight, sending each back that arrives, until the
// connections are closed. If nothing arrives for a while, packets were lost.
func (p *turnPair) run(window, size int, done, lost *atomic.Int64) {
	for k, c := range p.clients {
		go func() {
			packet := channelData(size)
			buf := make([]byte, 2048)
			start := func() {
				for range window {
					c.Write(packet)
				}
			}
			if k == 0 {
				start()
			}
			for {
				c.SetReadDeadline(time.Now().Add(2 * time.Second))
				n, err := c.Read(buf)
				switch {
				case errors.Is(err, net.ErrClosed):
					return
				case err != nil && k == 0:
					lost.Add(1)
					start()
				case err == nil && n >= size:
					done.Add(1)
					c.Write(packet)
				}
			}
		}()
	}
}

// packets measures the CPU time per packet.
func (c *turnCommand) packets(e *env) error {
	e.say("turn: %s of clients, %d bytes, %d in flight", plural(c.Pairs, "pair"), c.Bytes, c.Window)
	ours, err := c.ours(e, unlimited...)
	if err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	defer ours.stop()
	targets := []*turnTarget{ours}
	coturn, err := c.coturn(e)
	if err != nil {
		e.report.note("turn: without coturn: %v", err)
	} else {
		defer coturn.stop()
		targets = append(targets, coturn)
	}
	var lost atomic.Int64
	samples := make([][]sample, len(targets))
	for round := range c.Rounds {
		for i := range targets {
			k := (round + i) % len(targets)
			s, err := c.round(e, targets[k], &lost)
			if err != nil {
				return fmt.Errorf("turn: %w", err)
			}
			samples[k] = append(samples[k], s)
		}
	}
	w := row{Group: turnGroup, What: fmt.Sprintf("CPU per packet of %d bytes", c.Bytes), Unit: "µs", Measured: median(each(samples[0], cost))}
	if len(targets) > 1 {
		own, base, ratios := compared(samples[0], samples[1])
		w.Measured, w.Against, w.Baseline, w.Ratio = own, "coturn", base, median(ratios)
		w.Goal, w.OfRatio, w.Note = new(0.9), true, spread(ratios)+"; "+rates(samples[0], samples[1])
	}
	e.report.add(w)
	e.report.add(row{Group: turnGroup, What: "windows that lost packets", Measured: float64(lost.Load())})
	return nil
}

// round measures one target with new pairs.
func (c *turnCommand) round(e *env, t *turnTarget, lost *atomic.Int64) (sample, error) {
	var done atomic.Int64
	for i := range c.Pairs {
		p, err := t.pair(e.ctx, i)
		if err != nil {
			return sample{}, err
		}
		defer p.close()
		if err := p.exchange(); err != nil {
			return sample{}, err
		}
		p.run(c.Window, c.Bytes, &done, lost)
	}
	return measure(e, t.process, &done, c.Round)
}

// memory measures the memory of an allocation with a channel that has carried packets in
// both directions.
func (c *turnCommand) memory(e *env, secure bool) error {
	flags, transport, goal := unlimited, "UDP", 16.0
	if secure {
		flags, transport, goal = append([]string{"--tls=self-signed"}, unlimited...), "TLS", 32
	}
	e.say("turn: %d allocations over %s", c.Allocations, transport)
	t, err := c.ours(e, flags...)
	if err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	defer t.stop()
	before, err := e.settle(t.process, time.Second, 20*time.Second)
	if err != nil {
		return err
	}
	pairs := make([]*turnPair, c.Allocations/2)
	defer func() {
		for _, p := range pairs {
			if p != nil {
				p.close()
			}
		}
	}()
	if err := inParallel(8, len(pairs), func(i int) (err error) {
		if pairs[i], err = t.pair(e.ctx, i); err != nil {
			return err
		}
		return pairs[i].exchange()
	}); err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	after, err := e.settle(t.process, 12*time.Second, 60*time.Second)
	if err != nil {
		return err
	}
	e.report.add(row{
		Group: turnGroup, What: "resident memory per allocation, " + transport, Unit: "KiB",
		Measured: float64(after-before) / float64(2*len(pairs)) / 1024, Goal: new(goal),
		Note: fmt.Sprintf("%d allocations with a channel", 2*len(pairs)),
	})
	return nil
}

// idle compares a server without calls to one without a relay.
func (c *turnCommand) idle(e *env) error {
	e.say("turn: idle")
	const rounds = 3
	var memory, without, cpu []float64
	for range rounds {
		for _, flags := range [][]string{{"--turn=off"}, {"--turn-listen=:0"}} {
			p, err := e.serve(flags...)
			if err != nil {
				return fmt.Errorf("turn: %w", err)
			}
			rss, err := e.settle(p, 2*time.Second, 20*time.Second)
			began, cpuErr := p.cpu()
			err = errors.Join(err, cpuErr, e.sleep(c.Idle/rounds))
			ended, cpuErr := p.cpu()
			p.stop()
			if err = errors.Join(err, cpuErr); err != nil {
				return fmt.Errorf("turn: %w", err)
			}
			if flags[0] == "--turn=off" {
				without = append(without, float64(rss)/(1<<20))
				continue
			}
			memory = append(memory, float64(rss)/(1<<20))
			cpu = append(cpu, (ended-began).Seconds()*1e3/(c.Idle/rounds).Seconds())
		}
	}
	e.report.add(row{Group: turnGroup, What: "idle server, memory added by the relay", Unit: "MiB", Measured: median(memory) - median(without), Goal: new(2.0),
		Note: fmt.Sprintf("%.1f MiB against %.1f MiB with --turn=off", median(memory), median(without))})
	e.report.add(row{Group: turnGroup, What: "idle server, CPU per second", Unit: "ms", Measured: median(cpu)})
	return nil
}
