package peerjs_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/internal/limit"
	"inbox/peerjs"
)

// addressed takes the client's address from a query parameter that no PeerJS client
// sends, or else uses 192.0.2.1.
func addressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address := r.URL.Query().Get("from")
		if address == "" {
			address = "192.0.2.1"
		}
		r.RemoteAddr = net.JoinHostPort(address, "1")
		next.ServeHTTP(w, r)
	})
}

// limitedBubble runs a test in a bubble, whose clock the limits use.
func limitedBubble(t *testing.T, c limit.Config, f func(s *server)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Hour) })
		clients := limit.NewClients(c)
		s := start(t, peerjs.Config{Clients: clients, Store: openMemory(t, inbox.Limits{Quota: clients})})
		s.bubble = true
		f(s)
	})
}

// knockFrom connects from an address.
func (s *server) knockFrom(address, id string) *client {
	s.Helper()
	c := s.dialQuery("key=peerjs&token=t&version=1.5.5&id=" + id + "&from=" + address)
	c.id = id
	return c
}

// wantOpen fails the test unless the next frame is OPEN. After an ERROR, a PeerJS client
// gives up for good.
func (c *client) wantOpen() {
	c.Helper()
	if f := c.Hear(); !strings.Contains(f, `"OPEN"`) {
		c.Fatalf("heard %s, want OPEN", f)
	}
}

// A client that connects too often waits silently for its turn. If its turn is more than
// ten seconds away, it is closed.
func TestSocketsOfOneAddressWait(t *testing.T) {
	limitedBubble(t, limit.Config{Requests: limit.Rate{PerSecond: 0.5, Burst: 20}}, func(s *server) {
		begun := time.Now()
		var clients []*client
		for i := range 20 {
			clients = append(clients, s.knockFrom("192.0.2.1", fmt.Sprint(i)))
			clients[i].wantOpen()
		}
		if time.Since(begun) > 0 {
			t.Errorf("the burst took %v", time.Since(begun))
		}
		late := s.knockFrom("192.0.2.1", "late")
		synctest.Wait()
		s.knockFrom("192.0.2.2", "other").wantOpen()
		if time.Since(begun) > 0 {
			t.Error("another address had to wait")
		}
		late.wantOpen()
		s.wantElapsed(time.Since(begun), 2*time.Second, 3*time.Second)
		// Far more than there is room for.
		var crowd []*client
		for i := range 15 {
			crowd = append(crowd, s.knockFrom("192.0.2.1", fmt.Sprint("crowd-", i)))
		}
		time.Sleep(30 * time.Second)
		opened, closed := 0, 0
		for _, c := range crowd {
			for f := range c.Frames {
				if !strings.Contains(f, `"OPEN"`) {
					t.Fatalf("a waiting client got %s", f)
				}
				opened++
				break
			}
			if c.Code.Load() == 4429 {
				closed++
			}
		}
		if opened < 3 || opened+closed != len(crowd) {
			t.Errorf("of %d clients, %d were opened and %d closed with 4429", len(crowd), opened, closed)
		}
	})
}

// A message beyond the limit waits like one to an absent peer.
func TestMessagesOfOneAddressWait(t *testing.T) {
	limitedBubble(t, limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 5}}, func(s *server) {
		alice, bob := s.knockFrom("192.0.2.1", "alice"), s.knockFrom("192.0.2.2", "bob")
		alice.wantOpen()
		bob.wantOpen()
		begun := time.Now()
		for i := range 6 {
			alice.offer("bob", fmt.Sprint(i))
		}
		for i := range 6 {
			bob.wantFrom("alice", "OFFER", fmt.Sprint(i))
		}
		s.wantElapsed(time.Since(begun), time.Second, 4*time.Second)
		alice.silent(10 * time.Second)
	})
}

func TestNewIDsOfOneAddress(t *testing.T) {
	limitedBubble(t, limit.Config{Requests: limit.Rate{PerSecond: 0.1, Burst: 2}}, func(s *server) {
		for range 2 {
			if status, _, _ := s.get("/peerjs/id"); status != http.StatusOK {
				t.Errorf("got %d", status)
			}
		}
		status, _, header := s.get("/peerjs/id", "Origin", "https://app.example")
		if status != http.StatusTooManyRequests || header.Get("Retry-After") != "10" || header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("got %d, %v", status, header)
		}
		if status, _, _ := s.get("/peerjs/id?from=192.0.2.2"); status != http.StatusOK {
			t.Errorf("another address got %d", status)
		}
	})
}

// A client whose address opens too many inboxes waits like one that opens too many
// sockets.
func TestInboxesOfOneAddressWait(t *testing.T) {
	limitedBubble(t, limit.Config{Inboxes: limit.Rate{PerSecond: 0.5, Burst: 1}}, func(s *server) {
		s.knockFrom("192.0.2.1", "alice").wantOpen()
		begun := time.Now()
		s.knockFrom("192.0.2.1", "bob").wantOpen()
		s.wantElapsed(time.Since(begun), 2*time.Second, 3*time.Second)
		s.knockFrom("192.0.2.2", "carol").wantOpen()
		if strings.Contains(s.log.String(), "store failed") {
			t.Errorf("a limit is logged as a failure: %s", s.log)
		}
	})
}

// The messages of one address to absent peers are bounded, which leaves room for others.
func TestHeldBytesOfOneAddress(t *testing.T) {
	limitedBubble(t, limit.Config{Bytes: 64 << 10}, func(s *server) {
		alice, bob := s.knockFrom("192.0.2.1", "alice"), s.knockFrom("192.0.2.1", "bob")
		carol := s.knockFrom("192.0.2.2", "carol")
		for _, c := range []*client{alice, bob, carol} {
			c.wantOpen()
		}
		large := `"` + strings.Repeat("x", 40<<10) + `"`
		alice.offer("nobody", large)
		alice.handled()
		begun := time.Now()
		bob.offer("nobody", large)
		bob.wantExpire("nobody")
		if time.Since(begun) > 0 {
			t.Errorf("a message without room expired after %v", time.Since(begun))
		}
		carol.offer("dave", large)
		carol.handled()
		s.knockFrom("192.0.2.3", "dave").wantOpen()
		carol.silent(10 * time.Second)
		alice.wantExpire("nobody")
	})
}

// A request that cannot become a socket counts like any other, and a preflight counts
// like a frame.
func TestRequestsWithoutSocketCount(t *testing.T) {
	limitedBubble(t, limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 3}}, func(s *server) {
		for _, want := range []int{426, 426, 426, 429} {
			if got, _, _ := s.get("/peerjs"); got != want {
				t.Errorf("GET without an upgrade: %d, want %d", got, want)
			}
		}
		for range 30 {
			s.ask(http.MethodOptions, "/peerjs", "Origin", "https://app.example", "Access-Control-Request-Method", "GET")
		}
		req, err := http.NewRequest(http.MethodOptions, "http://inbox.test/peerjs", nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := s.client.Do(req); err == nil {
			res.Body.Close()
			t.Errorf("a flood of OPTIONS got %d", res.StatusCode)
		}
	})
}
