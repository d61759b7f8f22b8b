package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
)

var pepper = inbox.NewPepper(testKey)

func peer(id string) inbox.Peer { return inbox.Peer{ID: id, Secret: pepper.Secret(id, "password")} }

// load is a set of peers that send to each other over two servers, with a ledger of what
// was accepted and what arrived.
type load struct {
	testing.TB
	stores  []*Store
	turn    atomic.Int64
	ledger  inboxtest.Ledger
	enough  chan struct{} // closed to stop new messages
	senders sync.WaitGroup
	peers   sync.WaitGroup
	over    context.CancelFunc

	accepted, arrived atomic.Int64
	resets            atomic.Int64
	unavailable       atomic.Int64 // sends that failed with ErrUnavailable
	full              atomic.Int64
	ends              atomic.Int64 // waits that failed with ErrUnavailable
	replaced          atomic.Int64 // waits that ended with ErrReplaced, which no test here causes
	slowest           atomic.Int64 // slowest operation, in nanoseconds
	tooLong           atomic.Int64 // operations that exceeded the promised time
}

const loadPeers = 4

func startLoad(tb testing.TB, stores ...*Store) *load {
	tb.Helper()
	ctx, over := context.WithCancel(tb.Context())
	l := &load{TB: tb, stores: stores, enough: make(chan struct{}), over: over}
	tb.Cleanup(func() { over(); l.peers.Wait() })
	for i := range loadPeers {
		id := fmt.Sprint("peer", i)
		reached(tb, func() error {
			_, err := l.store().Acknowledge(ctx, peer(id), inbox.Cursor{}, nil)
			return err
		})
		l.peers.Go(func() { l.receive(ctx, id) })
	}
	for i := range loadPeers {
		l.senders.Go(func() { l.send(ctx, fmt.Sprint("peer", i)) })
	}
	return l
}

// reached repeats an operation until Redis replies. On an overloaded machine a store can
// be unavailable.
func reached(tb testing.TB, do func() error) {
	tb.Helper()
	inboxtest.Until(tb, "redis answers", func() bool {
		err := do()
		if err != nil && !errors.Is(err, inbox.ErrUnavailable) {
			tb.Fatal(err)
		}
		return err == nil
	})
}

func (l *load) store() *Store { return l.stores[l.turn.Add(1)%int64(len(l.stores))] }

// send sends numbers to all peers and repeats each until it is accepted. The keys prevent
// duplicates.
func (l *load) send(ctx context.Context, from string) {
	for n := 0; ; n++ {
		to, body := fmt.Sprint("peer", n%loadPeers), fmt.Sprint(from, " ", n)
		for {
			over := l.watch()
			_, err := l.store().Send(ctx, peer(from), to, inbox.Draft{Body: []byte(body), Key: fmt.Sprint(n)})
			over()
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				l.ledger.Sent(from, to, body)
				l.accepted.Add(1)
				break
			}
			switch {
			case errors.Is(err, inbox.ErrUnavailable):
				l.unavailable.Add(1)
			case errors.Is(err, inbox.ErrServerFull), errors.Is(err, inbox.ErrFull):
				l.full.Add(1)
			case !errors.Is(err, inbox.ErrNoInbox):
				l.Errorf("send: %v", err)
				return
			}
			time.Sleep(20 * time.Millisecond) // like a client that is told to retry
		}
		select {
		case <-l.enough:
			return
		case <-ctx.Done():
			return
		case <-time.After(3 * time.Millisecond): // rate of the load
		}
	}
}

// watch records whether an operation takes longer than the 3 seconds that clients are
// promised. It counts ticks, with some tolerance, so that time in which this process did
// not run does not count.
func (l *load) watch() (over func()) {
	const turn, promised = 100 * time.Millisecond, 3 * time.Second
	done, begin := make(chan struct{}), time.Now()
	go func() {
		tick := time.NewTicker(turn)
		defer tick.Stop()
		for range int(promised/turn) + 10 {
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
		l.tooLong.Add(1)
	}()
	return func() {
		close(done)
		took := int64(time.Since(begin))
		for {
			slowest := l.slowest.Load()
			if took <= slowest || l.slowest.CompareAndSwap(slowest, took) {
				return
			}
		}
	}
}

// receive receives as the owner, alternating between the servers.
func (l *load) receive(ctx context.Context, id string) {
	var after inbox.Cursor
	for ctx.Err() == nil {
		s := inbox.NewSession(l.store(), peer(id), after, 10, inbox.NewWaker(nil), nil)
		b, err := s.Receive(ctx, 5*time.Second)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, inbox.ErrUnavailable):
			l.ends.Add(1)
			time.Sleep(20 * time.Millisecond)
			continue
		case errors.Is(err, inbox.ErrReplaced): // by a receiver that only the old primary knew
			l.replaced.Add(1)
			continue
		case err != nil:
			l.Errorf("receive: %v", err)
			return
		case b.Reset:
			l.resets.Add(1)
		}
		for _, m := range b.Messages {
			l.ledger.Arrived(m.From, id, string(m.Body))
			l.arrived.Add(1)
		}
		after = b.Cursor
	}
}

// serves waits until new messages are accepted and arrive everywhere.
func (l *load) serves() {
	l.Helper()
	accepted, arrived := l.accepted.Load(), l.arrived.Load()
	const proof = 20 * loadPeers
	inboxtest.Until(l, "messages are accepted and arrive again", func() bool {
		return l.accepted.Load() > accepted+proof && l.arrived.Load() > arrived+proof
	})
}

// end ends the load and returns the balance.
func (l *load) end() inboxtest.Balance {
	l.Helper()
	close(l.enough)
	l.senders.Wait()
	// Wait for the last messages. A lost wake delays one by at most 10 seconds.
	for last, since := int64(-1), time.Now(); l.ledger.Balance().Lost > 0 && time.Since(since) < 12*time.Second; time.Sleep(20 * time.Millisecond) {
		if now := l.arrived.Load(); now != last {
			last, since = now, time.Now()
		}
	}
	l.over()
	l.peers.Wait()
	b := l.ledger.Balance()
	l.Logf("%v; %d sends unavailable, %d full, %d waits ended, %d resets, slowest operation %v",
		b, l.unavailable.Load(), l.full.Load(), l.ends.Load(), l.resets.Load(), time.Duration(l.slowest.Load()).Round(time.Millisecond))
	if n := l.tooLong.Load(); n > 0 {
		l.Errorf("%d operations took longer than clients are promised", n)
	}
	return b
}

// nothingLost checks the balance after a fault that must not lose anything.
func (l *load) nothingLost() {
	l.Helper()
	b := l.end()
	if l.replaced.Load() > 0 {
		l.Errorf("%d waits were replaced", l.replaced.Load())
	}
	if b.Accepted == 0 || b != (inboxtest.Balance{Accepted: b.Accepted}) {
		l.Errorf("the ledger does not balance: %v", b)
	}
}
