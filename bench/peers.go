package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// waiting is a set of very many peers that wait at one server.
type waiting struct {
	e         *env
	server    *process
	transport string
	life      time.Duration // of their connections
	peers     []waitingPeer
	arrived   atomic.Int64
	kept      atomic.Int64 // keep-alives: empty polls, comments, pings
	broken    atomic.Int64 // connections that broke
	first     atomic.Pointer[error]
	left      atomic.Bool // they have disconnected on purpose
	running   sync.WaitGroup
}

type waitingPeer struct {
	peer
	waiter
	conn     *conn
	arrivals atomic.Int32
}

func (c *waitingCommand) waiting(e *env, p *process, transport string) *waiting {
	return &waiting{e: e, server: p, transport: transport, peers: make([]waitingPeer, c.Peers),
		life: c.Idle + 6*time.Minute}
}

// open makes all peers wait and returns the server's CPU time per peer.
func (w *waiting) open() (micro float64, err error) {
	if err := w.openPeer(0); err != nil {
		return 0, err
	}
	before, err := w.server.cpu()
	if err != nil {
		return 0, err
	}
	if err := inParallel(32, len(w.peers)-1, func(i int) error { return w.openPeer(i + 1) }); err != nil {
		w.leave()
		return 0, errors.Join(err, w.server.alive())
	}
	// A waiting long poll is invisible, so wait until the server is idle.
	if err := w.e.rest(w.server, 10*time.Second); err != nil {
		return 0, err
	}
	after, err := w.server.cpu()
	return micros(after-before, len(w.peers)-1), err
}

func (w *waiting) openPeer(i int) (err error) {
	p := &w.peers[i]
	if p.id == "" {
		p.peer = newPeer()
	}
	if p.conn, err = w.server.dial(w.e.ctx, i, w.life, 1024); err != nil {
		return err
	}
	if p.waiter, err = openWaiter(w.transport, p.conn, p.peer); err != nil {
		p.conn.Close()
		p.waiter = nil
		return err
	}
	want := string(w.message(i))
	w.running.Go(func() {
		err := p.run(func(body []byte) {
			if string(body) != want {
				p.arrivals.Add(2) // anything else counts as a duplicate
				return
			}
			if p.arrivals.Add(1) == 1 {
				w.arrived.Add(1)
			}
		}, func() { w.kept.Add(1) })
		if !w.left.Load() {
			w.broken.Add(1)
			w.first.CompareAndSwap(nil, &err)
		}
	})
	return nil
}

func (w *waiting) message(i int) []byte {
	return text(fmt.Sprintf("%d for %s ", i, w.peers[i].id), candidateSize)
}

// idle returns how much of a core an idle server uses, in percent.
func (w *waiting) idle(d time.Duration) (float64, error) {
	if d <= 0 {
		return 0, nil
	}
	began := time.Now()
	before, err := w.server.cpu()
	if err != nil {
		return 0, err
	}
	if err := w.e.sleep(d); err != nil {
		return 0, err
	}
	after, err := w.server.cpu()
	return 100 * (after - before).Seconds() / time.Since(began).Seconds(), err
}

// deliver sends a message to each peer and waits until all have arrived. It returns the
// server's CPU time per message.
func (w *waiting) deliver() (micro float64, err error) {
	before, err := w.server.cpu()
	if err != nil {
		return 0, err
	}
	const senders = 4
	err = inParallel(senders, senders, func(lane int) error {
		c, err := w.server.dial(w.e.ctx, lane, time.Minute, 8<<10)
		if err != nil {
			return err
		}
		defer c.Close()
		from := newPeer()
		for i := lane; i < len(w.peers); i += senders {
			if _, err := c.must(from.post(w.peers[i].id, w.message(i)), 200); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return 0, errors.Join(err, w.server.alive())
	}
	for end := time.Now().Add(10 * time.Second); int(w.arrived.Load()) < len(w.peers) && time.Now().Before(end); {
		if err := w.e.sleep(10 * time.Millisecond); err != nil {
			return 0, err
		}
	}
	if err := w.e.rest(w.server, 5*time.Second); err != nil {
		return 0, err
	}
	after, err := w.server.cpu()
	return micros(after-before, len(w.peers)), err
}

// lost returns how many peers have not received their message.
func (w *waiting) lost() int { return len(w.peers) - int(w.arrived.Load()) }

// duplicated returns how many unexpected messages arrived.
func (w *waiting) duplicated() (n int) {
	for i := range w.peers {
		n += max(0, int(w.peers[i].arrivals.Load())-1)
	}
	return n
}

// why returns the error of the first connection that broke.
func (w *waiting) why() string {
	if err := w.first.Load(); err != nil && *err != nil {
		return (*err).Error()
	}
	return ""
}

// leave closes all connections, every other one with a reset.
func (w *waiting) leave() {
	if w.left.Swap(true) {
		return
	}
	for i := range w.peers {
		if w.peers[i].waiter == nil {
			continue
		}
		if i%2 == 0 {
			setLinger(w.peers[i].conn)
		}
		w.peers[i].Close()
	}
	w.running.Wait()
}

// closeInboxes closes the inboxes of all peers.
func (w *waiting) closeInboxes() error {
	const lanes = 4
	return inParallel(lanes, lanes, func(lane int) error {
		c, err := w.server.dial(w.e.ctx, lane, time.Minute, 8<<10)
		if err != nil {
			return err
		}
		defer c.Close()
		for i := lane; i < len(w.peers); i += lanes {
			if _, err := c.must(w.peers[i].delete(), 204); err != nil {
				return fmt.Errorf("close: %w", err)
			}
		}
		return nil
	})
}

// inParallel calls f for 0 to n-1, atOnce at a time, until one fails.
func inParallel(atOnce, n int, f func(i int) error) error {
	var (
		all    sync.WaitGroup
		next   atomic.Int64
		failed atomic.Bool
		mu     sync.Mutex // guards first
		first  error
	)
	for range min(atOnce, n) {
		all.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					failed.Store(true)
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return first
}
