package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// redisCommand measures two servers over one Redis, which it starts.
type redisCommand struct {
	Program string        `default:"redis-server" help:"Redis or Valkey executable."`
	Samples int           `default:"1000" help:"Messages from one server to a peer waiting at the other."`
	Inboxes int           `default:"20000" help:"Idle inboxes."`
	Waiting int           `default:"50" help:"Peers that wait without receiving anything."`
	Wait    time.Duration `default:"20s" help:"How long they wait."`
	Conns   []int         `default:"16,64" help:"Numbers of connections for throughput."`
	Round   time.Duration `default:"200ms" help:"Length of a round."`
	Rounds  int           `default:"9" help:"Rounds per server and setting."`
}

func (c *redisCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	two, err := startTwo(e, c.Program, "--inbox-ttl=10m")
	if err != nil {
		return err
	}
	defer two.stop()
	alone, err := e.serve("--inbox-ttl=10m")
	if err != nil {
		return err
	}
	defer alone.stop()
	redis, servers := two.redis, append(two.servers, alone)
	for _, step := range []func(*env, *redisServer, []*process) error{c.arrivals, c.commands, c.waiting, c.memory, c.throughput} {
		if err := step(e, redis, servers); err != nil {
			return fmt.Errorf("redis: %w", err)
		}
	}
	return nil
}

// commands counts the scripts that run for a send and for a receive.
func (c *redisCommand) commands(e *env, redis *redisServer, servers []*process) error {
	const n = 80 // fits into an inbox
	cy, err := dialCycler(e, servers[0], 0, true, 100, time.Minute)
	if err != nil {
		return err
	}
	defer cy.Close()
	if err := cy.open(); err != nil {
		return err
	}
	count := func(what string, goal float64, step func() error) error {
		before, err := redis.scripts()
		if err != nil {
			return err
		}
		for range n {
			if err := step(); err != nil {
				return err
			}
		}
		after, err := redis.scripts()
		if err != nil {
			return err
		}
		// The count may include probes of both servers during a second.
		e.report.add(row{Group: "redis: scripts run", What: what, Measured: float64(after-before) / n, Unit: "", Goal: new(goal + 0.1)})
		return nil
	}
	if err := count("per send", 2, func() error { _, err := cy.must(cy.post, 200); return err }); err != nil {
		return err
	}
	return count("per receive of a message", 1, func() error {
		a, err := cy.must(cy.get, 200)
		if err != nil {
			return err
		}
		return cy.keep(a)
	})
}

// waiting counts how often waiting peers look into their inboxes.
func (c *redisCommand) waiting(e *env, redis *redisServer, servers []*process) error {
	for _, t := range []struct{ name, query, header string }{
		{"long poll of " + c.Wait.String(), fmt.Sprintf("?after=0&wait=%d", int(c.Wait.Seconds())), "Accept: */*"},
		{"stream", "?after=0", "Accept: text/event-stream"},
	} {
		e.say("redis: %d peers wait for %v: %s", c.Waiting, c.Wait, t.name)
		var conns []*conn
		defer func() { hangUp(conns) }()
		before, err := redis.scripts()
		if err != nil {
			return err
		}
		for i := range c.Waiting {
			cn, err := dial(e.ctx, servers[i%2].addr, i, 2*c.Wait+time.Minute)
			if err != nil {
				return err
			}
			conns = append(conns, cn)
			if _, err := cn.Write(newPeer().get(t.query, t.header)); err != nil {
				return err
			}
		}
		if err := e.sleep(c.Wait + time.Second); err != nil {
			return err
		}
		after, err := redis.scripts()
		if err != nil {
			return err
		}
		probes := 2 * c.Wait.Seconds() / 3
		e.report.add(row{Group: "redis: scripts run", What: "per waiting peer, " + t.name,
			Measured: (float64(after-before) - probes) / float64(c.Waiting), Unit: "", Note: "including one to open the inbox"})
	}
	return nil
}

func (c *redisCommand) memory(e *env, redis *redisServer, servers []*process) error {
	e.say("redis: %d idle inboxes", c.Inboxes)
	o, err := newOpeners(e, servers[0].addr, 4)
	if err != nil {
		return err
	}
	defer o.close()
	before, err := redis.number("memory", "used_memory")
	if err != nil {
		return err
	}
	if _, err := o.open(c.Inboxes); err != nil {
		return err
	}
	after, err := redis.number("memory", "used_memory")
	if err != nil {
		return err
	}
	e.report.add(row{Group: "redis: memory", What: "idle inbox", Measured: float64(after-before) / float64(c.Inboxes), Unit: "bytes", Goal: new(600.0)})
	return nil
}

// throughput compares the CPU time per message with the same server in memory. Twice the
// time is half the throughput of a core.
func (c *redisCommand) throughput(e *env, redis *redisServer, servers []*process) error {
	cycles := &cycleCommand{Round: c.Round, Rounds: c.Rounds}
	for _, conns := range c.Conns {
		e.say("redis: throughput, %s", plural(conns, "connection"))
		targets := []*target{{name: "redis", p: servers[0]}, {name: "memory", p: servers[2]}}
		cpu, err := cpuOf(redis.cmd.Process.Pid)
		if err != nil {
			return err
		}
		before, err := redis.scripts()
		if err != nil {
			return err
		}
		if err := cycles.compare(e, targets, true, true, 1024, conns); err != nil {
			return err
		}
		after, err := redis.scripts()
		if err != nil {
			return err
		}
		used, err := cpuOf(redis.cmd.Process.Pid)
		if err != nil {
			return err
		}
		own, base, ratios := compared(targets[0].samples, targets[1].samples)
		what := "send + receive, " + plural(conns, "connection")
		e.report.add(row{Group: "redis: server CPU", What: what, Measured: own, Unit: "µs", Goal: new(2.0), OfRatio: true,
			Against: "memory", Baseline: base, Ratio: median(ratios), Note: spread(ratios) + "; " + rates(targets[0].samples, targets[1].samples)})
		e.report.add(row{Group: "redis: CPU of Redis", What: "a script, " + plural(conns, "connection"),
			Measured: micros(used-cpu, int(after-before)), Unit: "µs"})
	}
	return nil
}

// twoServers share a Redis.
type twoServers struct {
	redis   *redisServer
	servers []*process
}

func startTwo(e *env, program string, flags ...string) (*twoServers, error) {
	redis, err := startRedis(e, program)
	if err != nil {
		return nil, err
	}
	t := &twoServers{redis: redis}
	for range 2 {
		p, err := e.serve(append(flags, redis.flags...)...)
		if err != nil {
			t.stop()
			return nil, err
		}
		t.servers = append(t.servers, p)
	}
	if err := e.sleep(time.Second); err != nil { // until the servers have subscribed
		t.stop()
		return nil, err
	}
	return t, nil
}

func (t *twoServers) stop() {
	for _, p := range t.servers {
		p.stop()
	}
	t.redis.stop()
}

// redisServer is a Redis started by this program.
type redisServer struct {
	addr  string
	flags []string // of servers that share it
	dir   string
	cmd   *exec.Cmd
}

func startRedis(e *env, program string) (*redisServer, error) {
	dir, err := os.MkdirTemp("", "inbox-bench-redis")
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	pepper := filepath.Join(dir, "pepper")
	r := &redisServer{addr: ln.Addr().String(), dir: dir}
	r.flags = []string{"--store=redis://" + r.addr, "--pepper-file=" + pepper}
	ln.Close()
	if err := os.WriteFile(pepper, []byte(strings.Repeat("0123456789abcdef", 2)), 0o600); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(r.addr)
	r.cmd = exec.CommandContext(e.ctx, program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", dir, "--logfile", filepath.Join(dir, "log"))
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := pinned(e.load, e.load, r.cmd.Start); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", program, err)
	}
	for range 200 {
		if _, err := r.info("server"); err == nil {
			return r, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.stop()
	return nil, fmt.Errorf("%s does not respond", program)
}

func (r *redisServer) stop() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
	os.RemoveAll(r.dir)
}

// info fetches a section of INFO.
func (r *redisServer) info(section string) (string, error) {
	c, err := net.DialTimeout("tcp", r.addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(c, "INFO %s\r\n", section)
	in := bufio.NewReader(c)
	head, err := in.ReadString('\n')
	if err != nil || head[0] != '$' {
		return "", errors.Join(err, fmt.Errorf("unexpected response from redis: %q", head))
	}
	n, err := strconv.Atoi(strings.TrimSpace(head[1:]))
	if err != nil {
		return "", err
	}
	text := make([]byte, n)
	_, err = io.ReadFull(in, text)
	return string(text), err
}

func (r *redisServer) number(section, name string) (int64, error) {
	text, err := r.info(section)
	if err != nil {
		return 0, err
	}
	_, after, ok := strings.Cut(text, name+":")
	if !ok {
		return 0, nil // not counted yet
	}
	after = strings.TrimPrefix(after, "calls=")
	return strconv.ParseInt(after[:strings.IndexFunc(after, func(c rune) bool { return c < '0' || c > '9' })], 10, 64)
}

// scripts returns the number of scripts that have run.
func (r *redisServer) scripts() (int64, error) { return r.number("commandstats", "cmdstat_evalsha") }
