package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// abandonedCommand makes peers disconnect while they wait, sends to them, and lets them
// return for the message.
type abandonedCommand struct {
	N      int `name:"n" default:"1000" help:"Number of long polls."`
	AtOnce int `default:"32" help:"How many run concurrently."`
}

func (c *abandonedCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	server, err := e.serve()
	if err != nil {
		return err
	}
	defer server.stop()
	e.say("abandoned: %d long polls", c.N)
	var (
		mu       sync.Mutex // guards the variables below
		lost     [len(departures)]int
		of       [len(departures)]int
		doubled  int
		failures []error
	)
	var lanes sync.WaitGroup
	for lane := range c.AtOnce {
		lanes.Go(func() {
			for i := lane; i < c.N; i += c.AtOnce {
				kind := i % len(departures)
				n, err := abandon(e.ctx, server.addr, lane, departures[kind])
				mu.Lock()
				of[kind]++
				switch {
				case err != nil:
					failures = append(failures, err)
				case n == 0:
					lost[kind]++
				case n > 1:
					doubled++
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	lanes.Wait()
	if err := errors.Join(server.alive(), errors.Join(failures...)); err != nil {
		return fmt.Errorf("abandoned: %w", err)
	}
	const group = "abandoned: messages sent after a peer abandoned its long poll"
	for kind, d := range departures {
		e.report.count(group, fmt.Sprintf("lost of %d, %s", of[kind], d.name), lost[kind], "")
	}
	e.report.count(group, "duplicated", doubled, "")
	return nil
}

// departure is a way to abandon a long poll.
type departure struct {
	name   string
	abrupt bool          // a reset, as when the peer's process is killed
	waited time.Duration // long enough for the poll to wait, which cannot be observed
	before time.Duration // time from disconnecting to sending
}

const shortly, long = 3 * time.Millisecond, 500 * time.Millisecond

var departures = [...]departure{
	{"closed just before the send", false, shortly, 0},
	{"reset just before the send", true, shortly, 0},
	{"closed 5 ms before the send", false, shortly, 5 * time.Millisecond},
	{"reset 5 ms before the send", true, shortly, 5 * time.Millisecond},
	{"closed just before the send, after half a second", false, long, 0},
	{"reset just before the send, after half a second", true, long, 0},
}

// abandon returns how many times the message arrived at the returning peer.
func abandon(ctx context.Context, addr string, i int, d departure) (int, error) {
	owner, sender := newPeer(), newPeer()
	waits, err := dial(ctx, addr, i, time.Minute)
	if err != nil {
		return 0, err
	}
	defer waits.Close()
	other, err := dial(ctx, addr, i, time.Minute)
	if err != nil {
		return 0, err
	}
	defer other.Close()
	if _, err := other.must(owner.get("?wait=0"), 204); err != nil {
		return 0, fmt.Errorf("open: %w", err)
	}
	if _, err := waits.Write(owner.get("")); err != nil {
		return 0, err
	}
	time.Sleep(d.waited)
	if d.abrupt {
		if err := setLinger(waits); err != nil {
			return 0, err
		}
	}
	waits.Close()
	if d.before > 0 {
		time.Sleep(d.before)
	}
	message := text("after "+owner.id, candidateSize)
	if _, err := other.must(sender.post(owner.id, message), 200); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	arrived := 0
	for {
		query := "?wait=2"
		if arrived > 0 {
			query = "?wait=0"
		}
		a, err := other.ask(owner.get(query))
		if err != nil {
			return arrived, fmt.Errorf("receive: %w", err)
		}
		switch {
		case a.status == 204:
			return arrived, nil
		case a.status != 200 || string(a.body) != string(message):
			return arrived, fmt.Errorf("receive: %w", unexpected(a))
		}
		arrived++
	}
}
