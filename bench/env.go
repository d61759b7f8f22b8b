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

// env is what every subcommand works with: where processes run, and where
// figures go.
type env struct {
	options
	ctx    context.Context
	report report

	cores  []int // that we may use
	server []int // of them, where servers run
	load   []int // where we run
	binary string
	temp   string
}

// apart puts servers on one core and the load on another.
func (e *env) apart() error {
	if err := e.prepare(); err != nil {
		return err
	}
	e.server, e.load = e.cores[:1], e.cores[:1]
	if len(e.cores) > 1 {
		e.load = e.cores[1:2]
	} else {
		e.report.note("There is only one core: server and load share it, and the figures are worse than they would be.")
	}
	return pinSelf(e.load)
}

// together lets servers and load use the same cores, n at most.
func (e *env) together(n int) error {
	if err := e.prepare(); err != nil {
		return err
	}
	n = max(1, min(n, len(e.cores)))
	e.server, e.load = e.cores[:n], e.cores[:n]
	return pinSelf(e.load)
}

// prepare builds the server, once, while all cores are ours.
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

// generous are limits that count what each address does, as in production, and refuse
// nothing: all clients here share a few addresses.
var generous = []string{
	"--limit-requests=1000000/s,burst=1000000", "--limit-inboxes=1000000/s,burst=1000000",
	"--limit-recipients=1000000/s,burst=1000000", "--limit-connections=1000000", "--limit-in-flight=1GiB", "--limit-memory=0",
}

// serve starts a server for a measurement.
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

// say tells on standard error what is going on.
func (e *env) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "· "+format+"\n", args...)
}

// sleep waits, unless the program is to end.
func (e *env) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-e.ctx.Done():
		return errors.New("interrupted")
	}
}

// finish prints the table and tidies up.
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

// loopback is one of several local addresses, so that the ports of one do not
// run short.
func loopback(i int) net.IP { return net.IPv4(127, 0, 0, byte(1+i%8)) }

// hostOf takes the address out of a server's URL.
func hostOf(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("the server announced %q, which is no URL", raw)
	}
	return u.Host, nil
}
