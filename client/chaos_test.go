package client_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"inbox/client"
	"inbox/internal/inboxtest"
	"inbox/memstore"
)

// Connections are cut all the time, answers get lost, and the server is restarted
// with a snapshot: nothing is lost, nothing comes twice, and the order stays.
func TestChaos(t *testing.T) {
	both(t, config{}, func(t *testing.T, s *server) {
		each, cuts := 50, 200
		if s.sockets { // where time is real
			each, cuts = 20, 10
		}
		var ids []string
		for i := range 4 {
			ids = append(ids, fmt.Sprint("peer", i))
		}
		s.open(ids...)
		var ledger inboxtest.Ledger
		var peers, chaos sync.WaitGroup
		quiet := make(chan struct{})
		for i, id := range ids {
			c := s.client(id, client.Config{
				RetryFor: -1,
				PollOnly: i == 0,
				HTTP:     s.lossy(func(*http.Request) bool { return rand.N(10) == 0 }),
			})
			for _, to := range ids {
				peers.Go(func() {
					for n := range each {
						body := fmt.Sprint(n)
						if err := c.Send(t.Context(), to, []byte(body)); err != nil {
							t.Error(err)
							return
						}
						ledger.Sent(id, to, body)
					}
				})
			}
			peers.Go(func() {
				left := each * len(ids)
				for m, err := range c.All(t.Context()) {
					if err != nil {
						t.Error(id, err)
						continue
					}
					ledger.Arrived(m.From, id, string(m.Body))
					if left--; left == 0 {
						break
					}
				}
				if err := c.Acknowledge(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		chaos.Go(func() {
			for n := 0; ; n++ {
				// Not a wait for anything: this is how often it happens.
				select {
				case <-time.After(rand.N(20 * time.Millisecond)):
				case <-quiet:
					return
				}
				switch {
				case n >= cuts:
					return
				case n%50 == 5:
					store := s.store.(*memstore.Store)
					s.stop()
					s.begin(store)
				default:
					s.cut()
				}
			}
		})
		peers.Wait()
		close(quiet)
		chaos.Wait()
		ledger.Check(t)
		for _, id := range ids {
			s.wantInside(id)
		}
	})
}
