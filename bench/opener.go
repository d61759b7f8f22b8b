package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// openers open inboxes as fast as a few connections allow, with pipelined polls that do
// not wait.
type openers struct{ conns []*conn }

const pipelined = 64 // requests in flight per connection

func newOpeners(e *env, addr string, n int) (*openers, error) {
	o := new(openers)
	for i := range n {
		c, err := dial(e.ctx, addr, i, 5*time.Minute)
		if err != nil {
			o.close()
			return nil, err
		}
		o.conns = append(o.conns, c)
	}
	return o, nil
}

func (o *openers) close() { hangUp(o.conns) }

// open opens n inboxes and returns some of their owners, spread evenly.
func (o *openers) open(n int) ([]peer, error) {
	some := make([][]peer, len(o.conns))
	errs := make([]error, len(o.conns))
	var all sync.WaitGroup
	for i, c := range o.conns {
		share := n / len(o.conns)
		if i < n%len(o.conns) {
			share++
		}
		all.Go(func() { some[i], errs[i] = openInboxes(c, share) })
	}
	all.Wait()
	var owners []peer
	for _, s := range some {
		owners = append(owners, s...)
	}
	return owners, errors.Join(errs...)
}

func openInboxes(c *conn, n int) (some []peer, err error) {
	var requests []byte
	for opened := 0; opened < n; {
		batch := min(pipelined, n-opened)
		requests = requests[:0]
		for i := range batch {
			p := newPeer()
			requests = append(requests, p.get("?after=0&wait=0")...)
			if i == 0 && len(some) < 10_000 {
				some = append(some, p)
			}
		}
		if _, err := c.Write(requests); err != nil {
			return some, fmt.Errorf("open: %w", err)
		}
		for range batch {
			a, err := c.read()
			if err != nil {
				return some, fmt.Errorf("open: %w", err)
			}
			if a.status != 204 {
				return some, fmt.Errorf("open: %w", unexpected(a))
			}
		}
		opened += batch
	}
	return some, nil
}
