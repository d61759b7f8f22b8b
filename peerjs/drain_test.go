package peerjs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox"
	"inbox/peerjs"
)

// A drain closes the sockets one by one, refuses new ones, and waits for all.
func TestDrain(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		const n, over = 200, 10 * time.Second
		clients := make([]*client, n)
		for i := range clients {
			clients[i] = s.open(fmt.Sprint(i))
		}
		begin := time.Now()
		s.handler.Drain(over)
		if _, err := s.try("key=peerjs&id=late&token=x"); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("a new socket: %v", err)
		}
		quarters := make([]int, 4)
		ended := make(chan time.Duration)
		for _, c := range clients {
			go func() {
				for range c.Frames {
				}
				ended <- time.Since(begin)
			}()
		}
		for range clients {
			quarters[int(<-ended*4/(over+time.Millisecond))]++
		}
		for _, c := range clients {
			if c.Code.Load() != 1012 {
				t.Errorf("closed with %d", c.Code.Load())
			}
			c.Conn.Close()
		}
		for _, q := range quarters {
			if q < n/10 {
				t.Errorf("of %d sockets, %v ended in each quarter", n, quarters)
			}
		}
		if err := s.handler.Lot.Wait(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// A second call shortens a drain. Until a socket ends, it still delivers messages.
func TestSecondDrainIsShorter(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		alice, bob := s.open("alice"), s.open("bob")
		s.drain(1000 * time.Hour)
		alice.offer("bob", "1")
		bob.wantFrom("alice", "OFFER", "1")
		s.drain(0)
		s.wantElapsed(elapsed(func() { alice.WantClosed(1012); bob.WantClosed(1012) }), 0, time.Millisecond)
	})
}

// moody is a store that can fail, and that can be slow to close an inbox.
type moody struct {
	inbox.Store
	away    atomic.Bool
	onClose func()
}

var errAway = errors.New("somewhere else")

func (m *moody) Send(ctx context.Context, from inbox.Peer, to string, d inbox.Draft) (bool, error) {
	if m.away.Load() {
		return false, fmt.Errorf("%w: %w", inbox.ErrUnavailable, errAway)
	}
	return m.Store.Send(ctx, from, to, d)
}

func (m *moody) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	if m.away.Load() {
		return inbox.Batch{}, fmt.Errorf("%w: %w", inbox.ErrUnavailable, errAway)
	}
	return m.Store.Look(ctx, p, after, limit, w)
}

func (m *moody) Close(ctx context.Context, p inbox.Peer, life uint64) (int, error) {
	if m.away.Load() {
		return 0, inbox.ErrUnavailable
	}
	if m.onClose != nil {
		m.onClose()
	}
	return m.Store.Close(ctx, p, life)
}

// While the store is unavailable, no socket is closed, because clients would not
// reconnect. Messages are held, and new clients are admitted later.
func TestStoreUnavailable(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		m := &moody{Store: s.store}
		s = start(s.TB, peerjs.Config{Store: m})
		alice, bob := s.open("alice"), s.open("bob")
		m.away.Store(true)
		alice.offer("bob", "1")
		carol := s.knock("carol", "c")
		carol.silent(4 * time.Second)
		m.away.Store(false)
		bob.wantFrom("alice", "OFFER", "1")
		carol.Want(`{"type":"OPEN"}`)

		m.away.Store(true)
		alice.offer("bob", "2")
		alice.wantExpire("bob")
		time.Sleep(5 * time.Minute) // the inboxes have expired
		m.away.Store(false)
		time.Sleep(2 * time.Second)
		bob.offer("alice", "3")
		alice.wantFrom("bob", "OFFER", "3")
		if log := s.log.String(); !strings.Contains(log, errAway.Error()) || strings.Contains(log, "alice") || strings.Contains(log, "token") {
			t.Errorf("the log: %s", log)
		}
	})
}

// A client may reconnect exactly when its old socket ends and closes the inbox. The new
// socket opens the inbox again.
func TestTakeoverWhileTheOldOneEnds(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		closing, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		m := &moody{Store: s.store, onClose: func() { once.Do(func() { close(closing); <-goOn }) }}
		s = start(s.TB, peerjs.Config{Store: m})
		bob, old := s.open("bob"), s.open("alice")
		old.Conn.Close()
		<-closing
		alice := s.open("alice")
		close(goOn)
		time.Sleep(time.Second)
		s.knock("alice", "another").Want(taken)
		bob.offer("alice", "1")
		alice.wantFrom("bob", "OFFER", "1")
		alice.silent(time.Minute)
		bob.silent(time.Second)
	})
}

// A client that lost its inbox while the store was unavailable, and whose id is now
// taken, gets ID-TAKEN.
func TestInboxLost(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		m := &moody{Store: s.store}
		other := start(s.TB, peerjs.Config{Store: m})
		alice := other.open("alice")
		m.away.Store(true)
		time.Sleep(5 * time.Minute)
		s.knock("alice", "another").Want(`{"type":"OPEN"}`)
		m.away.Store(false)
		alice.Want(taken)
		alice.WantClosed(4400)
		s.knock("alice", "a third").Want(taken)
	})
}

// Two servers that share a store act as one.
func TestTwoServers(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		other := start(s.TB, peerjs.Config{Store: s.store})
		alice := s.open("alice")
		alice.offer("bob", "1")
		time.Sleep(time.Second)
		bob := other.open("bob")
		bob.wantFrom("alice", "OFFER", "1")
		bob.Say(message("ANSWER", "alice", "2"))
		alice.wantFrom("bob", "ANSWER", "2")
		s.settle() // acknowledges what alice has read, so that a takeover does not get it again
		other.knock("alice", "another").Want(taken)
		moved := other.open("alice")
		alice.WantClosed(4409)
		bob.offer("alice", "3")
		moved.wantFrom("bob", "OFFER", "3")
		moved.leave()
		s.knock("alice", "another").Want(`{"type":"OPEN"}`)
	})
}
