package inboxhttp_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// A peer can switch between poll, long poll, stream and socket at will. The newest
// receiver wins across transports.

var mixedWires = []wire{
	memory,
	{name: "memory, HTTP/2", bubble: true, config: config{http2: true}},
	tcp,
	overTLS,
	twoServers,
}

// overMixed calls f with a function that returns a delivery over the given transport.
func overMixed(t *testing.T, f func(of func(transport) *delivery)) {
	for _, w := range mixedWires {
		t.Run(w.name, func(t *testing.T) {
			if !w.bubble {
				t.Parallel()
			}
			w.run(t, w.config, func(s *server) {
				f(func(tr transport) *delivery { return &delivery{s, tr, w} })
			})
		})
	}
}

// The newest receiver wins, whatever transport it and the older one use.
func TestNewestWins(t *testing.T) {
	overMixed(t, func(of func(transport) *delivery) {
		var all sync.WaitGroup
		for i, older := range transports {
			for j, newer := range transports {
				if !older.waits || !newer.waits {
					continue
				}
				pair := func() {
					a, b := of(older), of(newer)
					id := fmt.Sprintf("alice-%d-%d", i, j)
					first := a.listen(id, a.begin(id))
					second := b.listen(id, b.connect(b.server, id, "0"))
					if e, err := first.next(); e.code != "replaced" {
						a.Errorf("%s after %s: got %+v, %v, want replaced", newer.name, older.name, e, err)
						return
					}
					b.send("bob", id, "for the newer")
					if e, err := second.next(); e.body != "for the newer" {
						b.Errorf("%s after %s: got %+v, %v", newer.name, older.name, e, err)
					}
				}
				if a := of(older); a.bubble {
					pair()
				} else {
					all.Go(pair) // parking takes a while
				}
			}
		}
		all.Wait()
	})
}

// A peer that switches between transports while another sends receives every message once
// and in order.
func TestMixed(t *testing.T) {
	overMixed(t, func(of func(transport) *delivery) {
		random := rand.New(rand.NewPCG(3, 7))
		s := of(transport{}).server
		const messages = 150
		position := s.get("alice", "?limit=0").cursor()
		var ledger inboxtest.Ledger
		var sends sync.WaitGroup
		sends.Go(func() {
			for _, body := range numbered(messages) {
				for {
					a, err := s.try(s.Context(), sending("bob", "alice", body))
					if err == nil && a.status == http.StatusOK {
						ledger.Sent("bob", "alice", body)
						break
					}
					if err != nil || a.code != "inbox-full" {
						s.Errorf("a send failed: %d, %v", a.status, err)
						return
					}
					time.Sleep(s.pollPause)
				}
			}
		})
		for taken := 0; taken < messages; {
			tr := transports[random.IntN(len(transports))]
			if isPopStream(tr) {
				continue
			}
			d := of(tr)
			if !tr.acknowledges { // it begins where the previous one ended
				s.acknowledge("alice", position)
			}
			c := tr.connect(s, "alice", position)
			for range min(1+random.IntN(12), messages-taken) {
				e := d.take(c)
				if e.code != "message" {
					s.Fatalf("%s: got %+v", tr.name, e)
				}
				ledger.Arrived(e.from, "alice", e.body)
				position = e.cursor
				taken++
			}
			c.leave()
		}
		sends.Wait()
		ledger.Check(s)
		s.acknowledge("alice", position)
		if held := s.held("alice"); held > 0 {
			s.Errorf("%d messages are left", held)
		}
	})
}
