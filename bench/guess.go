package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// guessCommand tries wrong passwords under the server's own limits: from one address, and
// from very many addresses at one inbox whose owner keeps polling. It counts the
// passwords that the server compared.
type guessCommand struct {
	Addresses int           `default:"1000" help:"Addresses that guess at one inbox."`
	For       time.Duration `default:"60s" help:"Duration."`
}

const guessGroup = "guess: wrong passwords compared by the server, per minute"

// guesses counts the guesses of some addresses.
type guesses struct {
	what        string
	burst, goal int // at once, and then per minute

	compared atomic.Int64 // wrong passwords that the server compared
}

// rate returns the guesses per minute beyond the burst. It never overestimates, since the
// time starts before the first guess and ends after the last.
func (g *guesses) rate(took time.Duration) float64 {
	return float64(max(0, g.compared.Load()-int64(g.burst))) / took.Minutes()
}

// guesser is a client with its own address.
type guesser struct {
	http *http.Client
	url  string
}

func newGuesser(p *process, address net.IP) *guesser {
	dialer := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: address}}
	return &guesser{&http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1}}, "http://" + p.addr + "/inbox?limit=0"}
}

// ask returns the status of a response.
func (g *guesser) ask(ctx context.Context, id, password string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url, nil)
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth(id, password)
	res, err := g.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

func (c *guessCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	p, err := e.serve()
	if err != nil {
		return err
	}
	defer p.stop()
	owner := newGuesser(p, net.IPv4(127, 0, 1, 1))
	const inboxes = 100 // many guess at the first, one at the second
	polls := func() (refused int, err error) {
		for i := range inboxes {
			status, err := owner.ask(e.ctx, fmt.Sprint("inbox ", i), "right")
			if err != nil {
				return 0, err
			}
			if status != http.StatusNoContent {
				refused++
			}
		}
		return refused, nil
	}
	if refused, err := polls(); err != nil || refused > 0 {
		return fmt.Errorf("guess: cannot open %d inboxes: %w", refused, err)
	}
	e.say("guess: for %v", c.For)
	ctx, stop := context.WithTimeout(e.ctx, c.For)
	defer stop()
	var all sync.WaitGroup
	try := func(g *guesses, address net.IP, every time.Duration, id func(turn int) string) {
		all.Go(func() {
			from := newGuesser(p, address)
			defer from.http.CloseIdleConnections()
			for turn := 0; ; turn++ {
				status, err := from.ask(ctx, id(turn), fmt.Sprint("guess ", turn))
				if err != nil {
					return // time is up
				}
				if status == http.StatusUnauthorized {
					g.compared.Add(1)
				}
				select {
				case <-time.After(every):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	ofOne, atOne, ofMany := &guesses{what: "one address, at 98 inboxes", burst: 60, goal: 60},
		&guesses{what: "one address, at one inbox", burst: 10, goal: 10},
		&guesses{what: fmt.Sprint(c.Addresses, " addresses, at one inbox"), burst: 100, goal: 100}
	begin := time.Now()
	try(ofOne, net.IPv4(127, 0, 2, 1), 20*time.Millisecond, func(turn int) string { return fmt.Sprint("inbox ", 2+turn%(inboxes-2)) })
	try(atOne, net.IPv4(127, 0, 2, 2), 100*time.Millisecond, func(int) string { return "inbox 1" })
	for i := range c.Addresses {
		try(ofMany, net.IPv4(127, 1, byte(i>>8), byte(i)), 2*time.Second, func(int) string { return "inbox 0" })
	}
	refused, asked := 0, 0
	for ctx.Err() == nil {
		n, err := polls()
		if err != nil {
			return err
		}
		refused, asked = refused+n, asked+inboxes
		if err := e.sleep(100 * time.Millisecond); err != nil {
			return err
		}
	}
	all.Wait()
	took := time.Since(begin)
	for _, g := range []*guesses{ofOne, atOne, ofMany} {
		e.report.add(row{
			Group: guessGroup, What: g.what, Measured: g.rate(took), Unit: "/min", Goal: new(float64(g.goal)),
			Note: fmt.Sprintf("and %d at once", g.burst),
		})
	}
	e.report.count(guessGroup, "refused requests of the owner", refused, fmt.Sprintf("of %d", asked))
	return p.alive()
}
