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

// Connections are cut constantly, responses get lost, and the server restarts from a
// snapshot. No message is lost, duplicated or reordered.
func TestChaos(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, config{}, func(s *server) { chaos(s, seed) })
		})
	}
}

func chaos(s *server, seed uint64) {
	const each, cuts = 30, 100
	ids := []string{"peer0", "peer1", "peer2", "peer3"}
	s.open(ids...)
	var ledger inboxtest.Ledger
	var peers sync.WaitGroup
	for i, id := range ids {
		d := &dice{r: rand.New(rand.NewPCG(seed, uint64(i)))}
		c := s.client(id, client.Config{
			RetryFor: -1,
			PollOnly: i == 0,
			HTTP:     s.lossy(func(*http.Request) bool { return d.roll(10) == 0 }),
		})
		for _, to := range ids {
			peers.Go(func() {
				for n := range each {
					body := fmt.Sprint(n)
					if err := c.Send(s.Context(), to, []byte(body)); err != nil {
						s.Error(err)
						return
					}
					ledger.Sent(id, to, body)
				}
			})
		}
		peers.Go(func() {
			left := each * len(ids)
			for m, err := range c.All(s.Context()) {
				if err != nil {
					s.Error(id, err)
					continue
				}
				ledger.Arrived(m.From, id, string(m.Body))
				if left--; left == 0 {
					break
				}
			}
			if err := c.Acknowledge(s.Context()); err != nil {
				s.Error(err)
			}
		})
	}
	quiet := make(chan struct{})
	go func() { peers.Wait(); close(quiet) }()
	d := &dice{r: rand.New(rand.NewPCG(seed, 100))}
	for n := range cuts {
		select {
		case <-time.After(time.Duration(d.roll(20)) * time.Millisecond): // in the bubble's time
		case <-quiet:
		}
		if n%25 == 5 {
			store := s.store.(*memstore.Store)
			s.stop()
			s.begin(store)
		} else {
			s.cut()
		}
	}
	<-quiet
	ledger.Check(s)
	for _, id := range ids {
		s.wantInside(id)
	}
}

// dice is a random source for several goroutines.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand // guarded by mu
}

func (d *dice) roll(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}
