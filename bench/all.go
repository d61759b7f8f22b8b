package main

import (
	"fmt"
	"time"
)

// allCommand runs every measurement with short settings. For figures to publish, run each
// subcommand separately.
type allCommand struct {
	Within time.Duration `default:"8m" help:"Skip measurements that would exceed this total, on a slow machine."`
}

// lastTakes is the approximate time of the last measurement.
const lastTakes = time.Minute

func (c *allCommand) Run(e *env) error {
	began, failed := time.Now(), 0
	for _, q := range []struct {
		name string
		run  interface{ Run(*env) error }
	}{
		{"cycle", &cycleCommand{Conns: []int{16, 64}, Body: []int{1024}, Form: []string{"pop", "ack"}, Round: 150 * time.Millisecond, Rounds: 9}},
		{"handshakes", &handshakesCommand{AtOnce: 64, Duration: 10 * time.Second, Cores: 2}},
		{"relay", &relayCommand{Form: []string{"lean", "full"}, Pairs: 64, Body: 400, InFlight: 4, Round: 150 * time.Millisecond, Rounds: 9, Openings: 1000}},
		{"relay against gws", &relayCommand{Gws: true, Form: []string{"lean"}, Pairs: 64, Body: 400, InFlight: 4, Round: 150 * time.Millisecond, Rounds: 9, Openings: 5}},
		{"ledger", &ledgerCommand{Messages: 20_000, Store: []string{"memory"}, Within: time.Minute}},
		{"metrics", &metricsCommand{Conns: 16, Body: 1024, Form: []string{"ack"}, Round: 150 * time.Millisecond, Rounds: 15, N: 100_000, Scrapes: 20}},
		{"abandoned", &abandonedCommand{N: 1000, AtOnce: 32}},
		{"idle", &idleCommand{N: 300_000, Settle: 15 * time.Second}},
		{"expiry", &expiryCommand{N: 100_000, Conns: 8, Rate: 2000, TTL: 10 * time.Second, Rounds: 1}},
		{"tls", &secureCommand{Transport: []string{"poll", "socket"}, Shake: []string{"full"}, HTTP2: []int{50}, Peers: 1000, Settle: 12 * time.Second}},
		{"drain", &drainCommand{Transport: []string{"socket", "poll"}, How: []string{"stop"}, Peers: 8000, Drain: 10 * time.Second}},
		{"waiting, socket", waitShortly("socket")},
		{"waiting, poll", waitShortly("poll")},
		{"waiting, stream", waitShortly("stream")},
		{"turn", &turnCommand{Pairs: 4, Window: 16, Bytes: 120, Round: 300 * time.Millisecond, Rounds: 7, Allocations: 300, Coturn: "turnserver", Call: 5 * time.Second, Idle: 3 * time.Second}},
	} {
		if time.Since(began) > c.Within-lastTakes {
			e.report.note("Skipped for lack of time: %s.", q.name)
			continue
		}
		if err := q.run.Run(e); err != nil {
			// One failure does not stop the other measurements.
			e.say("%v", err)
			e.report.note("Failed: %s.", q.name)
			failed++
		}
		if e.ctx.Err() != nil {
			break
		}
	}
	e.report.note("Everything took %.0f s with short settings. For figures to publish, run each subcommand separately.", time.Since(began).Seconds())
	if failed > 0 {
		return fmt.Errorf("%s failed", plural(failed, "measurement"))
	}
	return nil
}

func waitShortly(transport string) *waitingCommand {
	return &waitingCommand{Transport: []string{transport}, Peers: 10_000, Idle: 2 * time.Second,
		InboxTTL: time.Minute, Close: true, After: 12 * time.Second}
}
