package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// env is the environment of a subcommand: the cores on which processes run, and the
// report.
type env struct {
	options
	ctx    context.Context
	report report

	cores  []int // available to this process
	server []int // of cores: where servers run
	load   []int // of cores: where the load runs
	binary string
	temp   string
}

// apart runs servers on one core and the load on another.
func (e *env) apart() error {
	if err := e.prepare(); err != nil {
		return err
	}
	e.server, e.load = e.cores[:1], e.cores[:1]
	if len(e.cores) > 1 {
		e.load = e.cores[1:2]
	} else {
		e.report.note("Server and load share the only core, so the figures are worse than on separate cores.")
	}
	return pinSelf(e.load)
}

// together lets servers and load share at most n cores.
func (e *env) together(n int) error {
	if err := e.prepare(); err != nil {
		return err
	}
	n = max(1, min(n, len(e.cores)))
	e.server, e.load = e.cores[:n], e.cores[:n]
	return pinSelf(e.load)
}

// prepare builds the server once, before this process is pinned.
func (e *env) prepare() (err error) {
	if e.cores != nil {
		return nil
	}
	if e.cores, err = allowedCores(); err != nil {
		return err
	}
	if e.binary = e.Server; e.binary != "" {
		return nil
	}
	if e.temp, err = os.MkdirTemp("", "inbox-bench"); err != nil {
		return err
	}
	e.binary = filepath.Join(e.temp, "inbox")
	args := []string{"build", "-C", e.Source, "-o", e.binary}
	if e.Race {
		args = append(args, "-race")
	}
	e.say("building the server")
	cmd := exec.CommandContext(e.ctx, "go", append(args, "./cmd/inbox")...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot build the server: %w", err)
	}
	return nil
}

// generous are limits that count per address, as in production, but never refuse
// anything, since all clients here share a few addresses.
var generous = []string{
	"--limit-requests=1000000/s,burst=1000000", "--limit-inboxes=1000000/s,burst=1000000",
	"--limit-recipients=1000000/s,burst=1000000", "--limit-connections=1000000", "--limit-in-flight=1GiB", "--limit-memory=0",
}

// serve starts a server to measure.
func (e *env) serve(flags ...string) (*process, error) {
	args := slices.Concat([]string{"serve", "--listen=127.0.0.1:0"}, generous, flags)
	p, err := start(e.ctx, e.server, e.load, e.binary, append(args, e.ServerFlag...)...)
	if err == nil && e.Nginx != "" {
		if err = e.behindNginx(p); err != nil {
			p.stop()
		}
	}
	return p, err
}

// bare starts a baseline.
func (e *env) bare(args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(e.ctx, e.server, e.load, self, args...)
}

// node starts a server that runs in Node. npm ci installs it in the given directory.
func (e *env) node(installed, script string, args ...string) (*process, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, err
	}
	for i := range args {
		if args[i], err = filepath.Abs(args[i]); err != nil {
			return nil, err
		}
	}
	p, err := start(e.ctx, e.server, e.load, node, append([]string{script}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("cannot run %s (to install it, run npm ci in %s): %w", script, installed, err)
	}
	return p, nil
}

// say prints progress on standard error.
func (e *env) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "· "+format+"\n", args...)
}

// sleep waits for d, unless interrupted.
func (e *env) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-e.ctx.Done():
		return errors.New("interrupted")
	}
}

// finish prints the table and removes temporary files.
func (e *env) finish() error {
	if e.temp != "" {
		defer os.RemoveAll(e.temp)
	}
	e.report.print(os.Stdout)
	if e.JSON == "" {
		return e.report.verdict()
	}
	return errors.Join(e.report.verdict(), e.report.save(e.JSON, e.cores))
}

// loopback returns one of several local addresses, since a single one would run out of
// ports.
func loopback(i int) net.IP { return net.IPv4(127, 0, 0, byte(1+i%8)) }

// hostOf returns the host and port of a server's URL.
func hostOf(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("the server announced %q, want a URL", raw)
	}
	return u.Host, nil
}
