package inboxhttp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox"
	"inbox/internal/flight"
	"inbox/internal/limit"
)

// Section 9: what one address may do.

// here is the address that requests come from by default.
const here = "192.0.2.1"

// limited returns a server that takes the client's address from the header X-Client, or
// else uses here.
func limited(c limit.Config) config {
	return config{address: &c, wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = net.JoinHostPort(orElse(r.Header.Get("X-Client"), here), "1")
			next.ServeHTTP(w, r)
		})
	}}
}

// limitAddresses creates the limits inside the bubble, so that they use its clock.
func (c *config) limitAddresses() {
	if c.address != nil && c.Clients == nil {
		c.Clients = limit.NewClients(*c.address)
		c.InFlight = flight.NewShared(0, c.Clients)
		c.limits.Quota = c.Clients
	}
}

var others atomic.Int32

// fromAnother sets a client address that no request has used yet.
func (r request) fromAnother() request {
	n := others.Add(1)
	return r.from(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}).String())
}

// from sets the client address.
func (r request) from(address string) request {
	header := http.Header{"X-Client": {address}}
	maps.Copy(header, r.header)
	r.header = header
	return r
}

// wantLimited fails the test unless the answer is a 429, and returns its Retry-After.
func (a answer) wantLimited() time.Duration {
	a.Helper()
	a.wantProblem("rate-limited")
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		a.Fatalf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	return time.Duration(seconds) * time.Second
}

func TestRequestsOfOneAddress(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", http2), func(t *testing.T) {
			c := limited(limit.Config{Requests: limit.Rate{PerSecond: 0.5, Burst: 10}})
			c.http2 = http2
			inBubble(t, c, func(s *server) {
				for range 10 {
					s.open("alice")
				}
				begun := time.Now()
				for _, r := range []request{
					{id: "alice"}, // would wait otherwise
					{id: "alice", header: http.Header{"Accept": {"text/event-stream"}}},
					{id: "alice", query: "?limit=0"},
					{id: "alice", method: http.MethodDelete},
					sending("alice", "alice", "hello"),
				} {
					wait := s.do(r).wantLimited()
					if wait != 2*time.Second || time.Since(begun) > 0 {
						s.Errorf("%s %s: Retry-After is %v, answered after %v", r.method, r.query, wait, time.Since(begun))
					}
				}
				s.do(request{id: "bob", query: "?wait=0"}.fromAnother()).want(http.StatusNoContent)
				time.Sleep(2 * time.Second)
				s.open("alice")
				s.do(request{id: "alice"}).wantLimited()
			})
		})
	}
}

// A page can read Retry-After. Its preflights are still answered, unless there are more
// of them than a browser sends.
func TestPagesReadRetryAfter(t *testing.T) {
	inBubble(t, limited(limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 1}}), func(s *server) {
		page := http.Header{"Origin": {"https://app.example"}}
		s.do(request{id: "alice", query: "?wait=0", header: page}).want(http.StatusNoContent)
		a := s.do(request{id: "alice", query: "?wait=0", header: page})
		a.wantLimited()
		if a.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Retry-After") {
			s.Errorf("a page cannot read the answer: %v", a.header)
		}
		for range 10 {
			s.do(request{method: http.MethodOptions, header: http.Header{
				"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"GET"},
			}}).want(http.StatusNoContent)
		}
		if a, err := s.try(s.Context(), request{method: http.MethodOptions}); err == nil {
			s.Errorf("a flood of preflights still gets an answer: %d", a.status)
		}
	})
}

// A refused request has no effect: no message is lost or delivered twice.
func TestLimitedReceivesLoseNothing(t *testing.T) {
	inBubble(t, limited(limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 20}}), func(s *server) {
		exhaust := func() {
			for s.get("nobody", "?limit=0").status != http.StatusTooManyRequests {
			}
		}
		s.open("alice")
		for _, body := range []string{"1", "2", "3"} {
			s.do(sending("bob", "alice", body).fromAnother()).want(http.StatusOK)
		}
		exhaust()
		for range 3 {
			s.poll("alice").wantLimited()
		}
		time.Sleep(time.Second)
		s.poll("alice").want(http.StatusOK, "1")
		time.Sleep(time.Second)
		first := s.getJSON("alice", "?wait=0&after=0").wantBodies("2", "3")
		for range 3 { // nothing is acknowledged
			s.get("alice", "?limit=0&after="+first.cursor()).wantLimited()
			s.getJSON("alice", "?after="+first.cursor()).wantLimited()
		}
		if n := s.held("alice"); n != 2 {
			s.Errorf("the inbox has %d messages, want the two unacknowledged ones", n)
		}
		time.Sleep(time.Second)
		s.get("alice", "?wait=0&after="+first.cursor()).want(http.StatusNoContent)
	})
}

// A poll that repeats on its parked connection counts like any other.
func TestParkedPollsCount(t *testing.T) {
	for _, w := range []wire{tcp, overTLS} {
		t.Run(w.name, func(t *testing.T) {
			c := limited(limit.Config{Requests: limit.Rate{PerSecond: 1e-3, Burst: 4}})
			c.sockets, c.tls = true, w.config.tls
			s := start(t, c)
			send := func(body string) { s.do(sending("bob", "alice", body).fromAnother()).want(http.StatusOK) }
			alice := s.rawClient()
			for i := range 4 {
				alice.wait("alice", "", i < 2)
				send(fmt.Sprint(i))
				alice.answer(http.MethodGet).want(http.StatusOK, fmt.Sprint(i))
			}
			send("4")
			parked := s.parked.Load()
			for range 3 {
				alice.ask("alice", "", "")
				alice.answer(http.MethodGet).wantLimited()
			}
			if s.parked.Load() != parked {
				t.Error("a refused poll went back to net/http and was not tested parked")
			}
			s.do(request{id: "alice", query: "?wait=0"}.fromAnother()).want(http.StatusOK, "4")
		})
	}
}

func TestLimitedSockets(t *testing.T) {
	for _, w := range []wire{memory, tcp, overTLS} {
		t.Run(w.name, func(t *testing.T) {
			w.run(t, limited(limit.Config{Requests: limit.Rate{PerSecond: 1e-3, Burst: 8}}), func(s *server) {
				s.do(request{id: "bob", query: "?limit=0"}.fromAnother()).want(http.StatusNoContent)
				alice := s.dialSocket(handshake{id: "alice"}) // the first request
				alice.wantOpened(false)
				for i := range 7 {
					alice.send("bob", fmt.Sprint(i), fmt.Sprint("key", i))
					alice.wantSent(fmt.Sprint("key", i), false)
				}
				for range 2 { // the socket stays open, but its sends fail
					alice.send("bob", "more", "key7")
					m := alice.hear()
					if m.Type != "error" || m.Code != "rate-limited" || m.Status != 429 || m.Key != "key7" || m.RetryAfter < 1 || m.RetryAfter > 1001 {
						s.Errorf("a send beyond the limit: %+v", m)
					}
				}
				s.do(sending("bob", "alice", "hello").fromAnother()).want(http.StatusOK)
				alice.say(`{"type":"ack","after":%q}`, alice.wantMessages("bob", "hello"))
				if !s.bubble { // the acknowledgement has no answer
					s.settle()
				}

				// A handshake with Basic gets an HTTP answer. A handshake without, or
				// from a page, becomes a socket that closes with the reason.
				_, a := s.shake(handshake{id: "carol"})
				a.wantLimited()
				s.dialSocket(handshake{}).wantClose(4429)
				s.dialSocket(handshake{id: "carol", header: http.Header{"Origin": {"https://app.example"}}}).wantClose(4429)
				_, a = s.shake(handshake{header: http.Header{"Sec-Websocket-Key": {"no key"}}})
				a.wantLimited()
			})
		})
	}
}

// A client that ignores 429 gets as many of them as it may make requests. After that its
// connections end without an answer.
func TestClientThatIgnores429(t *testing.T) {
	inBubble(t, limited(limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 5}}), func(s *server) {
		for range 5 {
			s.open("alice")
		}
		for range 5 {
			s.get("alice", "?wait=0").wantLimited()
		}
		// net/http does not retry a DELETE
		if a, err := s.try(s.Context(), request{id: "alice", method: http.MethodDelete}); err == nil {
			s.Errorf("the sixth refusal is an answer: %d", a.status)
		}
		s.do(request{id: "bob", query: "?limit=0"}.fromAnother()).want(http.StatusNoContent)
		time.Sleep(time.Second)
		s.open("alice")
	})
}

func TestMessagesToAbsentPeers(t *testing.T) {
	inBubble(t, limited(limit.Config{Recipients: limit.Rate{PerSecond: 1, Burst: 3}}), func(s *server) {
		s.open("alice", "bob")
		for range 2 {
			s.post("alice", "nobody", "hello").wantProblem("no-such-inbox")
		}
		socket := s.dialSocket(handshake{id: "carol"})
		socket.wantOpened(false)
		socket.send("nobody", "hello", "1")
		socket.wantError("1", "no-such-inbox")
		// From now on, the answer no longer reveals which ids exist.
		s.post("alice", "nobody", "hello").wantLimited()
		s.post("alice", "bob", "hello").wantLimited()
		socket.send("bob", "hello", "2")
		socket.wantError("2", "rate-limited")
		s.poll("bob").want(http.StatusNoContent)
		s.do(sending("alice", "bob", "from there").fromAnother()).want(http.StatusOK)
		s.poll("bob").want(http.StatusOK, "from there")
		time.Sleep(time.Second)
		s.post("alice", "bob", "later").want(http.StatusOK)
	})
}

func TestNewInboxesOfOneAddress(t *testing.T) {
	overStores(t, limited(limit.Config{Inboxes: limit.Rate{PerSecond: 1e-3, Burst: 3}}), func(s *server) {
		if s.redis != nil { // the two servers share the inboxes and, in this test, the limits
			s.Log("limits are local to a server; these two share an object")
		}
		s.open("alice", "bob", "carol")
		for range 3 {
			s.open("alice", "bob")
			s.send("alice", "bob", "hello")
		}
		s.get("dave", "?limit=0").wantLimited()
		s.get("dave", "").wantLimited() // immediately
		s.post("dave", "bob", "hello").wantLimited()
		s.do(request{id: "dave", header: http.Header{"Accept": {"text/event-stream"}}}).wantLimited()
		_, a := s.shake(handshake{id: "dave"})
		a.wantLimited()
		socket := s.dialSocket(handshake{})
		socket.say(`{"type":"open","id":"dave","password":"x"}`)
		socket.wantClose(4429)
		s.do(request{id: "dave", query: "?limit=0"}.fromAnother()).want(http.StatusNoContent)
		s.open("dave") // it exists now
	})
}

// A stalled request, or one that waits over HTTP/2, counts toward the bytes of its
// address.
func TestBytesOfOneAddress(t *testing.T) {
	t.Run("bodies", func(t *testing.T) {
		c := limited(limit.Config{Bytes: 64 << 10})
		c.sockets = true
		s := start(t, c)
		s.open("alice")
		var stuck []*rawClient
		for range 3 { // each counts 8 KiB in a chunk, then pauses
			r := s.rawClient()
			r.write(fmt.Sprintf("POST /inbox?to=alice HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n%s",
				basic("bob:"+passwordOf("bob")), strings.Repeat("x", 0x3fff)))
			stuck = append(stuck, r)
		}
		large := strings.Repeat("x", 40<<10)
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // until the server has read them
			a := s.post("bob", "alice", large)
			if a.status == http.StatusTooManyRequests {
				a.wantLimited()
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("a body beyond the share got %d", a.status)
			}
			s.do(request{id: "alice", query: "?wait=0"})
		}
		s.do(sending("bob", "alice", large).fromAnother()).want(http.StatusOK)
		for _, r := range stuck {
			r.reset()
		}
	})
	t.Run("waits over HTTP/2", func(t *testing.T) {
		c := limited(limit.Config{Bytes: 48 << 10})
		c.http2 = true
		inBubble(t, c, func(s *server) {
			var waits []*pending
			for i := range 3 {
				waits = append(waits, s.wait(fmt.Sprint(i), ""))
			}
			time.Sleep(time.Second)
			s.get("4", "").wantLimited()
			s.do(request{id: "5", query: "?wait=1"}.fromAnother()).want(http.StatusNoContent)
			for _, w := range waits {
				w.answer().want(http.StatusNoContent)
			}
			s.get("4", "?wait=1").want(http.StatusNoContent)
		})
	})
}

// A school: 500 pupils behind one address, who all make a call within a minute. Half of
// them call the other half, who are up to ten seconds late, so that sends are repeated.
// Nobody hits a limit.
func TestSchoolHitsNoLimit(t *testing.T) {
	const pupils, exchanges = 500, 10
	c := limited(limit.Config{
		Requests: limit.Rate{PerSecond: 300, Burst: 3000}, Inboxes: limit.Rate{PerSecond: 10, Burst: 1000},
		Recipients: limit.Rate{PerSecond: 50, Burst: 3000}, Bytes: 16 << 20, Kept: 32 << 20, Connections: 2000,
	})
	inBubble(t, c, func(s *server) {
		var requests, missing atomic.Int64
		do := func(client *http.Client, r request) answer {
			r.client = client
			for {
				requests.Add(1)
				a := s.do(r)
				if a.status != http.StatusNotFound {
					return a
				}
				missing.Add(1)
				time.Sleep(300 * time.Millisecond) // the other pupil is late
				r.body = strings.NewReader("offer")
			}
		}
		pupil := func(name, other string, calls bool) {
			client := s.newClient()
			if calls {
				do(client, sending(name, other, "offer")).want(http.StatusOK)
			}
			cursor, got := "0", 0
			for got < exchanges {
				a := do(client, request{id: name, query: "?after=" + cursor, header: http.Header{"Accept": {"application/json"}}})
				cursor = a.header.Get("Inbox-Cursor")
				if a.status != http.StatusOK {
					continue
				}
				for range a.batch().Messages {
					got++
					do(client, sending(name, other, strings.Repeat("candidate ", 300))).want(http.StatusOK)
				}
			}
			do(client, request{id: name, query: "?limit=0&after=" + cursor})
		}
		var all sync.WaitGroup
		for i := range pupils / 2 {
			caller, callee := fmt.Sprint("caller ", i), fmt.Sprint("callee ", i)
			at := time.Duration(i) * 50 * time.Second / (pupils / 2)
			all.Go(func() { time.Sleep(at); pupil(caller, callee, true) })
			all.Go(func() { time.Sleep(at + time.Duration(i%10)*time.Second); pupil(callee, caller, false) })
		}
		begun := time.Now()
		all.Wait()
		if took := time.Since(begun); took > time.Minute+10*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := requests.Load(); n < 44*pupils/2 {
			t.Errorf("%d requests, want at least those of %d calls", n, pupils/2)
		}
		t.Logf("%d requests, %d of them too early", requests.Load(), missing.Load())
	})
}

// A flood from one address does not affect others.
func TestFloodFromOneAddressDoesNotAffectOthers(t *testing.T) {
	c := limited(limit.Config{
		Requests: limit.Rate{PerSecond: 1, Burst: 50}, Inboxes: limit.Rate{PerSecond: 1, Burst: 50}, Recipients: limit.Rate{PerSecond: 1, Burst: 50},
	})
	c.sockets = true
	s := start(t, c)
	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for range 4 {
		flood.Go(func() {
			for ctx.Err() == nil {
				conn, err := s.dial()
				if err != nil {
					return
				}
				conn.SetDeadline(time.Now().Add(time.Second))
				r := bufio.NewReader(conn)
				for range 20 {
					fmt.Fprintf(conn, "POST /inbox?to=x HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 0\r\n\r\n", basic("a:b"))
					if res, err := http.ReadResponse(r, nil); err == nil {
						io.Copy(io.Discard, res.Body)
					}
				}
				conn.Close()
			}
		})
	}
	for i := range 40 {
		s.do(request{id: "alice", query: "?limit=0"}.fromAnother()).want(http.StatusNoContent)
		if i < 40/2 {
			s.do(sending("bob", "alice", "hello").fromAnother()).want(http.StatusOK)
			s.do(request{id: "alice", query: "?wait=0"}.fromAnother()).want(http.StatusOK, "hello")
		}
	}
	stop()
	flood.Wait()
	if _, err := s.store.Send(t.Context(), s.peer("bob"), "alice", inbox.Draft{}); err != nil {
		t.Error(err)
	}
}
