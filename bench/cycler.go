package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// cycler is a connection that repeatedly sends a message to an inbox and receives it.
type cycler struct {
	*conn
	from, to peer
	post     []byte
	number   []byte // position of the message's number in post
	get      []byte
	cursor   []byte // position of the cursor in get; nil for a pop
	n        int
	bare     bool // the target is a baseline that does not check requests

	// For timed:
	every time.Duration // interval between cycles
	next  time.Time
	waits []span
}

const numberDigits = 8

func dialCycler(e *env, p *process, i int, ack bool, size int, life time.Duration) (*cycler, error) {
	c, err := p.dial(e.ctx, i, life, 16<<10)
	if err != nil {
		return nil, err
	}
	cy := &cycler{conn: c, from: newPeer(), to: newPeer()}
	body := text("00000000 ", size)
	cy.post = cy.from.post(cy.to.id, body)
	cy.number = cy.post[len(cy.post)-len(body):][:numberDigits]
	cy.get = cy.to.get("")
	if ack {
		slot := "XXXXXXXXXXXXXXXXXXXXXX" // as long as a cursor
		cy.get = cy.to.get("?after=" + slot)
		at := bytes.Index(cy.get, []byte(slot))
		cy.cursor = cy.get[at : at+len(slot)]
	}
	return cy, nil
}

// open opens the recipient's inbox and stores its first cursor.
func (c *cycler) open() error {
	a, err := c.ask(c.to.get("?after=0&wait=0"))
	if err != nil || c.bare {
		return err
	}
	if a.status != 204 {
		return unexpected(a)
	}
	return c.keep(a)
}

func (c *cycler) keep(a answer) error {
	if c.cursor == nil {
		return nil
	}
	if len(a.cursor) != len(c.cursor) {
		return fmt.Errorf("the cursor %q has changed its length", a.cursor)
	}
	copy(c.cursor, a.cursor)
	return nil
}

// cycle sends a message, receives it and checks it.
func (c *cycler) cycle() error {
	c.n++
	digits(c.number, c.n)
	a, err := c.must(c.post, 200)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if a, err = c.must(c.get, 200); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if c.bare {
		return nil
	}
	if len(a.body) < numberDigits || !bytes.Equal(a.body[:numberDigits], c.number) {
		return fmt.Errorf("receive: got %.20q, want message %s", a.body, c.number)
	}
	return c.keep(a)
}

// timed performs a cycle when it is due and records how long its requests took.
func (c *cycler) timed() error {
	time.Sleep(time.Until(c.next))
	c.n++
	digits(c.number, c.n)
	start := time.Now()
	if c.bare {
		start = c.next // so that the witness also shows pauses of this process
	}
	if _, err := c.must(c.post, 200); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	sent := time.Now()
	a, err := c.must(c.get, 200)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	received := time.Now()
	for _, s := range [...]span{{start, sent}, {sent, received}} {
		if s.took() > worthNoting {
			c.waits = append(c.waits, s)
		}
	}
	if c.next = c.next.Add(c.every); c.next.Before(received) {
		c.next = received // missed cycles are not made up for
	}
	if c.bare {
		return nil
	}
	return c.keep(a)
}

// sample performs a cycle and returns its responses.
func (c *cycler) sample() (*bareAnswers, error) {
	a, err := c.must(c.post, 200)
	if err != nil {
		return nil, err
	}
	like := &bareAnswers{Post: bareAnswerLike(a)}
	if a, err = c.must(c.get, 200); err != nil {
		return nil, err
	}
	like.Get = bareAnswerLike(a)
	return like, c.keep(a)
}

// measureCycles lets all connections perform cycles for d.
func measureCycles(e *env, t *target, d time.Duration) (sample, error) {
	load := spin(t.cyclers, (*cycler).cycle)
	s, err := measure(e, t.p, &load.done, d)
	return s, errors.Join(err, load.stop(), t.p.alive())
}

// spinning is a set of cyclers at work.
type spinning struct {
	done    atomic.Int64 // cycles
	stopped atomic.Bool
	all     sync.WaitGroup
	mu      sync.Mutex // guards err
	err     error      // the first error
}

// spin repeats step on every connection until stopped.
func spin(cyclers []*cycler, step func(*cycler) error) *spinning {
	s := new(spinning)
	for _, cy := range cyclers {
		s.all.Go(func() {
			for !s.stopped.Load() {
				if err := step(cy); err != nil {
					s.mu.Lock()
					s.err = cmp.Or(s.err, err)
					s.mu.Unlock()
					return
				}
				s.done.Add(1)
			}
		})
	}
	return s
}

func (s *spinning) stop() error {
	s.stopped.Store(true)
	s.all.Wait()
	return s.err
}
