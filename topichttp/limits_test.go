package topichttp_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"inbox"
	"inbox/internal/flight"
	"inbox/internal/inboxtest"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/memtopics"
	"inbox/topichttp"
)

// The topics of a connection and the subscribers of a topic are bounded. Subscriptions
// beyond are ignored and counted.
func TestBoundsOfTopics(t *testing.T) {
	refusals := meter.NewRefusals(false)
	c := topichttp.Config{Topics: memtopics.New(inbox.TopicLimits{Name: 20, Subscribers: 2}), PerConnection: 3, Refusals: refusals}
	inBubble(t, c, func(s *server) {
		a := s.connect("/yjs")
		a.Say(`{"type":"subscribe","topics":["1","2","` + strings.Repeat("x", 17) + `","3","3","4"]}`)
		a.silent()
		for _, topic := range []string{"1", "2", "3"} {
			a.Say(fmt.Sprintf(`{"type":"publish","topic":%q}`, topic))
			a.Want(fmt.Sprintf(`{"type":"publish","topic":%q,"clients":1}`, topic))
		}
		a.Say(`{"type":"publish","topic":"4"}`)
		a.silent()
		for range 3 {
			c := s.connect("/yjs")
			c.Say(`{"type":"subscribe","topics":["1"]}`)
			c.silent()
		}
		if n := s.topics.Subscribers("yjs:1"); n != 2 {
			t.Errorf("%d subscribers, want 2", n)
		}
		a.Say(`{"type":"unsubscribe","topics":["1"]}`)
		a.Say(`{"type":"subscribe","topics":["4"]}`)
		a.Say(`{"type":"publish","topic":"4"}`)
		a.Want(`{"type":"publish","topic":"4","clients":1}`)
		for why, want := range map[meter.Reason]uint64{meter.TopicsOfClient: 1, meter.TopicSubscribers: 2, meter.BadTopic: 1} {
			if got := refusals.Count(why); got != want {
				t.Errorf("%v was counted %d times, want %d", why, got, want)
			}
		}
	})
}

// A frame that names thousands of topics costs no more than one that names as many as a
// connection may have.
func TestFrameWithTooManyTopics(t *testing.T) {
	refusals := meter.NewRefusals(false)
	inBubble(t, topichttp.Config{PerConnection: 2, Refusals: refusals}, func(s *server) {
		a := s.connect("/yjs")
		a.Say(`{"type":"subscribe","topics":["1","2"` + strings.Repeat(`,"3"`, 10_000) + `]}`)
		a.silent()
		if n := refusals.Count(meter.TopicsOfClient); n != 2 {
			t.Errorf("the server looked at %d topics beyond the limit, want 2", n)
		}
		a.Say(`{"type":"unsubscribe","topics":["1"` + strings.Repeat(`,"3"`, 10_000) + `]}`)
		a.Say(`{"type":"publish","topic":"2"}`)
		a.Want(`{"type":"publish","topic":"2","clients":1}`)
		if n := s.topics.Subscribers("yjs:1"); n != 0 {
			t.Errorf("%d subscribers are left", n)
		}
	})
}

// A client whose connection ends is not subscribed any more.
func TestLeaving(t *testing.T) {
	inBubble(t, topichttp.Config{}, func(s *server) {
		for _, path := range []string{"/yjs", "/trystero"} {
			topic := map[string]string{"/yjs": "yjs:room", "/trystero": "trystero:room"}[path]
			for range 3 {
				c := s.connect(path)
				c.Say(`{"type":"subscribe","topic":"room","topics":["room"]}`)
				synctest.Wait()
				if n := s.topics.Subscribers(topic); n != 1 {
					t.Fatalf("%s: %d subscribers, want 1", path, n)
				}
				c.Conn.Close()
				synctest.Wait()
				if n := s.topics.Subscribers(topic); n != 0 {
					t.Fatalf("%s: %d subscribers after the connection was lost", path, n)
				}
			}
		}
	})
}

// A silent client is pinged. A client that does not answer is disconnected.
func TestSilentClients(t *testing.T) {
	inBubble(t, topichttp.Config{}, func(s *server) {
		a := s.connect("/trystero")
		a.Say(`{"type":"subscribe","topic":"room"}`)
		mute, err := s.try("/trystero", "")
		if err != nil {
			t.Fatal(err)
		}
		mute.Say(`{"type":"subscribe","topic":"room"}`)
		go func() { // reads without ever answering
			for {
				if _, _, err := inboxtest.ReadFrame(mute.Conn); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := s.topics.Subscribers("trystero:room"); n != 1 {
			t.Errorf("%d subscribers after an hour, want 1", n)
		}
	})
}

// A publisher that exceeds its copies waits. It loses nothing, and other publishers are
// not delayed.
func TestPublishersWait(t *testing.T) {
	refusals := meter.NewRefusals(false)
	limits := limit.Config{Copies: limit.Rate{PerSecond: 10, Burst: 20}, Refusals: refusals}
	limitedBubble(t, limits, topichttp.Config{Refusals: refusals}, func(s *server) {
		var subscribers []*client
		for range 10 {
			c := s.connect("/yjs")
			c.Say(`{"type":"subscribe","topics":["room"]}`)
			c.silent()
			subscribers = append(subscribers, c)
		}
		flood, err := s.try("/yjs", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		calm, err := s.try("/yjs", "192.0.2.2")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		go func() {
			for i := range 20 {
				flood.Say(fmt.Sprintf(`{"type":"publish","topic":"room","data":%d}`, i))
			}
		}()
		next := 0
		for i := range 3 { // the burst, and one more
			subscribers[0].Want(fmt.Sprintf(`{"type":"publish","topic":"room","data":%d,"clients":10}`, i))
			next++
		}
		calm.Say(`{"type":"publish","topic":"room","data":"calm"}`)
		subscribers[0].Want(`{"type":"publish","topic":"room","data":"calm","clients":10}`)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the other publisher waited %v", took)
		}
		for ; next < 20; next++ {
			subscribers[0].Want(fmt.Sprintf(`{"type":"publish","topic":"room","data":%d,"clients":10}`, next))
		}
		// 200 copies, of which 20 are the burst. The last publication does not wait.
		if took := time.Since(begin); took < 16*time.Second || took > 19*time.Second {
			t.Errorf("20 publications with 10 copies each took %v at 10 copies a second", took)
		}
		if refusals.Count(meter.AddressCopies) == 0 {
			t.Error("no wait was counted")
		}
	})
}

// A client that connects too often waits for its turn. The frames that it has sent are not
// lost.
func TestConnectionsWait(t *testing.T) {
	limits := limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 2}}
	limitedBubble(t, limits, topichttp.Config{}, func(s *server) {
		begin := time.Now()
		for i := range 5 {
			c, err := s.try("/yjs", "192.0.2.1")
			if err != nil {
				t.Fatal(err)
			}
			go c.Read()
			go c.Say(`{"type":"subscribe","topics":["room"]}`)
			inboxtest.Until(t, "the client is subscribed", func() bool { return s.topics.Subscribers("yjs:room") == i+1 })
		}
		if took := time.Since(begin); took < 2*time.Second || took > 6*time.Second {
			t.Errorf("five connections took %v, with a burst of two and then one per second", took)
		}
	})
}

// Drain ends every connection and refuses new ones.
func TestDrain(t *testing.T) {
	inBubble(t, topichttp.Config{}, func(s *server) {
		var all []*client
		for range 20 {
			for _, path := range []string{"/yjs", "/trystero", "/announce"} {
				all = append(all, s.connect(path))
			}
		}
		begin := time.Now()
		s.handler.Drain(10 * time.Second)
		for _, path := range []string{"/yjs", "/trystero", "/announce"} {
			if _, err := s.try(path, ""); err == nil || !strings.Contains(err.Error(), "503") {
				t.Errorf("a new socket at %s: %v", path, err)
			}
		}
		for _, c := range all {
			c.WantClosed(1012)
		}
		if took := time.Since(begin); took < 5*time.Second || took > 11*time.Second {
			t.Errorf("draining took %v", took)
		}
	})
}

// stuck connects a client that reads nothing.
func (s *server) stuck(path, subscribe string) *client {
	s.Helper()
	c, err := s.try(path, "")
	if err != nil {
		s.Fatal(err)
	}
	c.Say(subscribe)
	return c
}

// A y-webrtc client that does not read is disconnected when its queue is full. A Trystero
// client stays connected and loses messages. Other clients are not affected.
func TestSubscribersThatDoNotRead(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) { doNotRead(t, overLoopback) })
	t.Run("TLS", func(t *testing.T) { doNotRead(t, overTLS) })
}

func doNotRead(t *testing.T, serve func(testing.TB, topichttp.Config) *server) {
	t.Parallel()
	clients := limit.NewClients(limit.Config{Bytes: 16 << 20})
	budget := flight.NewShared(256<<20, clients)
	s := serve(t, topichttp.Config{InFlight: budget, Clients: clients})
	reads := s.connect("/trystero")
	reads.Say(`{"type":"subscribe","topic":"room"}`)
	patient := s.stuck("/trystero", `{"type":"subscribe","topic":"room"}`)
	yReads := s.connect("/yjs")
	yReads.Say(`{"type":"subscribe","topics":["room"]}`)
	impatient := s.stuck("/yjs", `{"type":"subscribe","topics":["room"]}`)
	inboxtest.Until(t, "all have subscribed", func() bool {
		return s.topics.Subscribers("trystero:room") == 2 && s.topics.Subscribers("yjs:room") == 2
	})
	payload := strings.Repeat("x", 60<<10)
	publish := func(path, name string) {
		t.Helper()
		c := s.connect(path)
		inboxtest.Until(t, name+" was noticed", func() bool {
			if path == "/yjs" {
				c.Say(`{"type":"publish","topic":"room","data":"` + payload + `"}`)
				yReads.Hear()
				return s.topics.Subscribers("yjs:room") == 1
			}
			c.Say(`{"type":"publish","topic":"room","payload":"` + payload + `"}`)
			reads.Hear()
			return s.handler.Dropped() > 10
		})
	}
	publish("/trystero", "the patient client")
	if used := budget.Used(); used > 2<<20 {
		t.Errorf("%d bytes are in flight for one client", used)
	}
	publish("/yjs", "the impatient client")
	go impatient.Read()
	for range impatient.Frames {
	}

	// When the patient client reads again, it gets what was left and then the next.
	go patient.Read()
	if n := s.topics.Subscribers("trystero:room"); n != 2 {
		t.Fatalf("%d subscribers, want 2", n)
	}
	c := s.connect("/trystero")
	for heard := false; !heard; {
		c.Say(`{"type":"publish","topic":"room","payload":"again"}`)
		reads.Want(`{"topic":"room","payload":"again"}`)
		for len(patient.Frames) > 0 {
			if patient.Hear() == `{"topic":"room","payload":"again"}` {
				heard = true
			}
		}
	}
	inboxtest.Until(t, "nothing is in flight", func() bool { return budget.Used() == 0 })
}

// Messages queued for subscribers that do not read count for their address.
func TestQueuesCountForTheirAddress(t *testing.T) {
	t.Parallel()
	clients := limit.NewClients(limit.Config{Bytes: 1 << 20})
	budget := flight.NewShared(256<<20, clients)
	s := overLoopback(t, topichttp.Config{InFlight: budget, Clients: clients})
	const many = 20
	for range many {
		s.stuck("/trystero", `{"type":"subscribe","topic":"room"}`)
	}
	inboxtest.Until(t, "all have subscribed", func() bool { return s.topics.Subscribers("trystero:room") == many })
	body := []byte(`{"topic":"room","payload":"` + strings.Repeat("x", 30<<10) + `"}`)
	for range 500 {
		if err := s.topics.Publish("trystero:room", body); err != nil {
			t.Fatal(err)
		}
	}
	if used := budget.Used(); used > 1<<20 {
		t.Errorf("%d bytes are in flight for one address, which may have 1 MiB", used)
	}
	if err := clients.Hold(netip.MustParseAddr("192.0.2.9"), 1<<20); err != nil {
		t.Errorf("another address has no room: %v", err)
	}
}

// A client that publishes more at once than the queue of a subscriber can hold gets all of
// it, as do others that read: the server also writes while it has more to read.
func TestManyPublicationsAtOnce(t *testing.T) {
	for name, each := range map[string]struct{ many, body int }{"long": {40, 8 << 10}, "longest": {3, 100 << 10}} {
		t.Run(name, func(t *testing.T) {
			s := overLoopback(t, topichttp.Config{})
			publisher, other := s.connect("/yjs"), s.connect("/yjs")
			for _, c := range []*client{publisher, other} {
				c.Say(`{"type":"subscribe","topics":["room"]}`)
				c.silent()
			}
			var all []byte
			data := strings.Repeat("x", each.body)
			for n := range each.many {
				frame := ws.NewTextFrame(fmt.Appendf(nil, `{"type":"publish","topic":"room","n":%d,"data":%q}`, n, data))
				all = append(all, ws.MustCompileFrame(ws.MaskFrame(frame))...)
			}
			go publisher.Conn.Write(all)
			for n := range each.many {
				for _, c := range []*client{publisher, other} {
					c.Want(fmt.Sprintf(`{"type":"publish","topic":"room","n":%d,"data":%q,"clients":2}`, n, data))
				}
			}
		})
	}
}
