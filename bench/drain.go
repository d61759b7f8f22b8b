package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// drainCommand lets very many peers wait and then ends all waits at once: it stops the
// server, closes every inbox, or replaces every receiver. No peer closes its connection,
// so the server has to wait for each. The command compares the peak memory with the
// memory while the peers waited, or with twice that if they were replaced.
type drainCommand struct {
	Transport []string      `default:"socket,peerjs,poll,stream" enum:"socket,peerjs,poll,stream" help:"Transports on which peers wait."`
	How       []string      `default:"stop,close,replace" enum:"stop,close,replace" help:"How waits end: stop the server, close the inboxes (not those of PeerJS, which end with their sockets), or replace the receivers."`
	Peers     int           `default:"18000" help:"Number of peers. Each takes a descriptor in both processes. With replace, half as many."`
	Drain     time.Duration `default:"10s" help:"How long the server may take to stop."`
	TLS       bool          `name:"tls" help:"Use TLS."`
}

func (c *drainCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	for _, transport := range c.Transport {
		for _, how := range c.How {
			if transport == "peerjs" && how == "close" {
				continue
			}
			peers := c.Peers
			if how == "replace" {
				peers /= 2
			}
			e.say("drain: %s, %s, %s", transport, plural(peers, "peer"), how)
			if err := c.measure(e, transport, how, peers); err != nil {
				return fmt.Errorf("drain: %s: %w", transport, err)
			}
		}
	}
	return nil
}

func (c *drainCommand) measure(e *env, transport, how string, peers int) error {
	flags := []string{fmt.Sprintf("--drain=%v", c.Drain)}
	if c.TLS {
		flags = append(flags, "--tls=self-signed")
	}
	server, err := e.serve(flags...)
	if err != nil {
		return err
	}
	defer server.stop()
	fresh, err := e.settle(server, time.Second, 3*time.Second)
	if err != nil {
		return err
	}
	waits := &waitingCommand{Peers: peers}
	w := waits.waiting(e, server, transport)
	if _, err := w.open(); err != nil {
		return err
	}
	defer w.leave()
	coming, err := peakOf(server.pid)
	if err != nil {
		return err
	}
	waiting, err := e.settle(server, collects, 30*time.Second)
	if err != nil {
		return err
	}
	if err := forgetPeak(server.pid); err != nil {
		return err
	}
	w.left.Store(true) // connections that end from here on do not count as broken
	before, err := server.cpu()
	if err != nil {
		return err
	}
	begun := time.Now()
	var peak int64
	var cpu time.Duration
	against := "waiting"
	switch how {
	case "stop":
		err = server.cmd.Process.Signal(syscall.SIGTERM)
	case "close":
		err = w.closeInboxes()
	case "replace":
		others := waits.waiting(e, server, transport)
		for i := range w.peers {
			others.peers[i].peer = w.peers[i].peer
		}
		_, err = others.open()
		defer others.leave()
		waiting, against = 2*waiting-fresh, "twice as many waiting"
	}
	for end := begun.Add(c.Drain + 5*time.Second); err == nil && time.Now().Before(end); err = e.sleep(20 * time.Millisecond) {
		n, gone := peakOf(server.pid)
		if gone != nil {
			break // it has exited
		}
		peak = max(peak, n)
		cpu, _ = server.cpu()
		if how != "stop" && time.Since(begun) > 4*time.Second {
			break
		}
	}
	if err != nil {
		return err
	}
	if peak == 0 {
		return errors.New("the server ended before its memory could be read")
	}
	w.left.Store(false) // so that leave closes the connections
	e.report.add(row{Group: fmt.Sprintf("drain: %s, %s, %s", transport, plural(peers, "peer"), how),
		What: "resident memory at the peak", Unit: "MB", Measured: float64(peak) / 1e6, Goal: new(1.3), OfRatio: true,
		Against: against, Baseline: float64(waiting) / 1e6, Ratio: float64(peak) / float64(waiting),
		Note: fmt.Sprintf("%s MB without peers, %s MB at the peak while they connected; %.1f s, %s µs of CPU each", megabytes(fresh), megabytes(coming), time.Since(begun).Seconds(), plain(micros(cpu-before, peers)))})
	return nil
}

// forgetPeak resets the peak to the present resident size.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
