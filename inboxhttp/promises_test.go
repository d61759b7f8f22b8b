package inboxhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/memstore"
)

// The promises of docs/protocol.md and SECURITY.md, one by one. Most have a deeper test
// elsewhere; this is the overview.
func TestPromises(t *testing.T) {
	for _, p := range slices.Concat(manyAtOnce, nothingLost, onTheWire, keptOut) {
		t.Run(p.name, func(t *testing.T) {
			switch {
			case p.real != nil:
				p.real(t)
			case p.memory != nil:
				inBubble(t, p.config, p.memory)
			default:
				overStores(t, p.config, p.run)
			}
		})
	}
}

type promise struct {
	name   string
	config config
	run    func(s *server)
	memory func(s *server)    // run over memory only
	real   func(t *testing.T) // run with real sockets only
}

// together runs f n times concurrently.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	ready := make(chan struct{})
	for i := range n {
		all.Go(func() { <-ready; f(i) })
	}
	close(ready)
	all.Wait()
}

// tryStatus returns the status of a request. It can be called in any goroutine.
func (s *server) tryStatus(r request) int {
	a, err := s.try(s.Context(), r)
	if err != nil {
		s.Error(err)
	}
	return a.status
}

// Promises that hold under concurrency.
var manyAtOnce = []promise{
	{name: "parallel first requests are all answered", real: func(t *testing.T) {
		overTCP(t, config{}, func(s *server) {
			s.transport.MaxConnsPerHost = 64
			together(s.times(1000), func(i int) {
				id := "everybody"
				if i%2 == 0 {
					id = fmt.Sprint("peer-", i)
				}
				if got := s.tryStatus(request{id: id, query: "?wait=0"}); got != http.StatusNoContent {
					s.Errorf("got %d", got)
				}
			})
			s.send("bob", "everybody", "the server lives")
		})
	}},
	{name: "of several passwords one opens an inbox", run: func(s *server) {
		for round := range s.times(30) {
			id := fmt.Sprint("alice-", round)
			var winners, losers atomic.Int64
			together(8, func(i int) {
				switch got := s.tryStatus(request{id: id, password: fmt.Sprint("pw", i), query: "?wait=0"}); got {
				case http.StatusNoContent:
					winners.Add(1)
				case http.StatusUnauthorized:
					losers.Add(1)
				}
			})
			if winners.Load() != 1 || losers.Load() != 7 {
				s.Fatalf("%d passwords won, %d lost", winners.Load(), losers.Load())
			}
		}
	}},
	{name: "a concurrent send by its owner keeps an inbox's messages", run: func(s *server) {
		for round := range s.times(30) {
			alice := fmt.Sprint("alice-", round)
			s.open("bob", alice)
			s.send("bob", alice, "one")
			together(8, func(i int) { s.tryStatus(sending(alice, "bob", "")) })
			s.poll(alice).wantMessage("bob", "one")
			s.do(request{method: http.MethodDelete, id: "bob"})
		}
	}},
	{name: "a message accepted at the moment of expiry can be received", memory: func(s *server) {
		atExpiry(s, func(id, cursor string) {
			accepted := s.tryStatus(sending("bob", id, "x")) == http.StatusOK
			if got := s.getJSON(id, "?wait=0&after=0"); accepted != (got.status == http.StatusOK) {
				s.Errorf("accepted: %v, but the poll got %d", accepted, got.status)
			}
		})
	}},
	{name: "a receiver that arrives at the moment of expiry gets the next message", memory: func(s *server) {
		atExpiry(s, func(id, cursor string) {
			waits := s.wait(id, "")
			s.send("bob", id, "x")
			waits.answer().wantMessage("bob", "x")
		})
	}},
	{name: "concurrent requests keep inboxes alive", memory: func(s *server) {
		s.open("bob")
		together(10, func(i int) {
			for range 5 {
				s.tryStatus(request{id: fmt.Sprint("alice-", i), query: "?wait=0"})
				s.tryStatus(request{id: "bob", query: "?wait=0"})
				time.Sleep(59 * time.Second)
			}
		})
		for i := range 10 {
			s.send("bob", fmt.Sprint("alice-", i), "none expired early")
		}
	}},
	{name: "expiry makes room while others keep sending", config: config{limits: inbox.Limits{Inboxes: 5000}}, memory: func(s *server) {
		ctx, others := s.Context(), 4990
		for i := range others {
			if _, err := s.store.Acknowledge(ctx, s.peer(fmt.Sprint(i)), start0, nil); err != nil {
				s.Fatal(err)
			}
		}
		for range 70 {
			time.Sleep(time.Second)
			s.open("alice")
			s.send("bob", "alice", "")
			s.poll("alice").wantMessage("bob", "")
		}
		for i := range others { // every expired inbox has made room
			if _, err := s.store.Acknowledge(ctx, s.peer(fmt.Sprint("new-", i)), start0, nil); err != nil {
				s.Fatal(err)
			}
		}
	}},
	{name: "a server leaves no goroutine behind", real: func(t *testing.T) {
		noLeaks(t, func() {
			for i := range 10 {
				t.Run(fmt.Sprint(i), func(t *testing.T) { start(t, config{sockets: true}).open("alice") })
			}
		})
	}},
	{name: "an answered poll leaves no goroutine behind", real: func(t *testing.T) {
		s := start(t, config{sockets: true})
		s.open("alice")
		s.wait("alice", "").leave()
		noLeaks(t, func() {
			for range 100 {
				waits := s.wait("alice", "")
				s.send("bob", "alice", "x")
				waits.answer().wantMessage("bob", "x")
			}
			s.client.CloseIdleConnections()
		})
	}},
	{name: "a drain answers receivers that wait and sends in flight", memory: func(s *server) { // for the process see cmd/inbox
		s.open("carol")
		waits := s.wait("alice", "")
		r := sending("bob", "carol", "")
		r.body = &pausing{strings.NewReader("in flight"), time.Second}
		sends := s.start(r)
		synctest.Wait()
		s.handler.Drain()
		if err := s.http.Shutdown(context.Background()); err != nil {
			s.Error(err)
		}
		waits.answer().wantProblem("draining")
		sends.answer().want(http.StatusOK)
	}},
}

// atExpiry calls f exactly when an inbox expires.
func atExpiry(s *server, f func(id, cursor string)) {
	for i := range 20 {
		id := fmt.Sprint("alice-", i)
		cursor := s.get(id, "?limit=0").cursor()
		time.Sleep(time.Minute)
		f(id, cursor)
	}
}

// Promises that an accepted message is received.
var nothingLost = []promise{
	{name: "an abandoned request loses no message", real: func(t *testing.T) {
		s := start(t, config{sockets: true})
		if lost := abandoned(s, "", 30, 1, false) + abandoned(s, "", 30, 30, true); lost > 0 {
			t.Errorf("%d of 60 were lost", lost)
		}
	}},
	{name: "a cancelled poll takes no message", run: func(s *server) {
		for i := range s.times(30) {
			p := s.wait("alice", "")
			p.leave()
			<-p.done
			if !s.bubble { // the connection may close a little later
				s.settle()
			}
			s.send("bob", "alice", fmt.Sprint(i))
			s.poll("alice").wantMessage("bob", fmt.Sprint(i))
			s.settle()
		}
	}},
	{name: "a replaced receiver takes no message", run: func(s *server) {
		newest := s.wait("alice", "?after=0")
		for i := range s.times(30) {
			older := newest
			newest = s.wait("alice", "?after=0")
			older.answer().wantProblem("replaced")
			s.send("bob", "alice", fmt.Sprint(i))
			got := newest.answer().wantMessage("bob", fmt.Sprint(i))
			s.get("alice", "?limit=0&after="+got.cursor())
			newest = s.wait("alice", "?after="+got.cursor())
		}
	}},
	{name: "a connection that broke silently is closed and loses no message", memory: func(s *server) {
		for _, query := range []string{"", "?after=0"} {
			ghost := s.rawClient()
			ghost.ask("alice", query, "")
			synctest.Wait()
			s.send("bob", "alice", "precious") // to the broken connection
			synctest.Wait()
			s.poll("alice").wantMessage("bob", "precious")
			synctest.Wait()
			time.Sleep(36 * time.Second) // the longest wait plus the time to write
			if took := s.ends(ghost.Conn); took > 0 {
				s.Errorf("the broken connection was held %v too long", took)
			}
		}
	}},
	{name: "a repeated GET gets the same message", run: func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one", "two")
		first := s.get("alice", "?after=0").wantMessage("bob", "one")
		s.get("alice", "?after=0").wantMessage("bob", "one")
		s.get("alice", "?after="+first.cursor()).wantMessage("bob", "two")
		s.get("alice", "?after="+first.cursor()).wantMessage("bob", "two")
	}},
	{name: "of several concurrent polls one gets the message", run: func(s *server) {
		for i := range s.times(30) {
			id := fmt.Sprint("alice-", i)
			waits := make([]*pending, 4)
			for j := range waits {
				waits[j] = s.start(request{id: id})
			}
			s.store.untilReceivers(id, len(waits), nil)
			s.send("bob", id, "x")
			delivered := 0
			for _, p := range waits {
				if a := p.answer(); a.status == http.StatusOK {
					delivered++
				} else {
					a.wantProblem("replaced")
				}
			}
			if delivered != 1 {
				s.Fatalf("delivered %d times", delivered)
			}
		}
	}},
	{name: "a reset reports that messages expired", run: func(s *server) {
		position := s.get("alice", "?limit=0").cursor()
		s.send("bob", "alice", "expires")
		for range 6 {
			s.turnClock(9 * time.Second)
			s.post("alice", "bob", "candidate")
		}
		s.expire()
		s.get("alice", "?wait=0&after="+position).want(http.StatusNoContent).wantHeader("Inbox-Reset", "true")
	}},
	{name: "a form is a body like any other", run: func(s *server) {
		s.open("alice")
		r := sending("bob", "alice", "to=carol&sdp=v%3D0")
		r.header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		s.do(r).want(http.StatusOK)
		s.poll("alice").wantMessage("bob", "to=carol&sdp=v%3D0")
	}},
	{name: "a snapshot keeps messages and positions across a restart", memory: func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one", "two")
		cursor := s.get("alice", "?after=0").wantMessage("bob", "one").cursor()
		path := filepath.Join(s.TempDir(), "all")
		if err := s.store.Store.(*memstore.Store).Save(path, s.pepper); err != nil {
			s.Fatal(err)
		}
		next := start(s.TB, config{pepper: s.pepper, open: func(_ testing.TB, l inbox.Limits) inbox.Store {
			store := memstore.New(l)
			if _, err := store.Load(path); err != nil {
				s.Fatal(err)
			}
			return store
		}})
		next.get("alice", "?after="+cursor).wantMessage("bob", "two").wantHeader("Inbox-Reset", "")
	}},
	{name: "a full inbox says when to retry, and the retry arrives once", config: config{limits: inbox.Limits{Messages: 1}}, run: func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "one")
		s.do(keyed("bob", "alice", "k", "two")).wantProblem("inbox-full").wantHeader("Retry-After", "1")
		s.poll("alice").wantMessage("bob", "one")
		s.wantReplayed(false, "bob", "alice", "k", "two")
		s.poll("alice").wantMessage("bob", "two")
	}},
	{name: "a replaced receiver gets 409, and the newer one continues", run: func(s *server) {
		older := s.wait("alice", "?after=0")
		newer := s.wait("alice", "?after=0")
		older.answer().want(http.StatusConflict).wantProblem("replaced")
		s.send("bob", "alice", "x")
		newer.answer().wantMessage("bob", "x")
	}},
}
