package topichttp_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/internal/flight"
	"inbox/internal/inboxtest"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/memtopics"
	"inbox/topichttp"
)

// The swarms of a connection and the peers of a swarm are bounded. A client learns that
// it is refused, and stays connected.
func TestTrackerBounds(t *testing.T) {
	refusals := meter.NewRefusals(false)
	inBubble(t, topichttp.Config{PerConnection: 2, SwarmPeers: 3, Refusals: refusals}, func(s *server) {
		a, b := s.connect("/announce"), s.connect("/announce")
		for _, swarm := range []string{"1", "2"} {
			a.announce(swarm, "a")
			a.wantCounts(swarm, 0, 1)
		}
		a.announce("3", "a")
		a.wantFailure("announce", "too many swarms")
		a.announce("2", "a", "event", `"stopped"`)
		a.wantCounts("2", 0, 0)
		a.announce("1", "a2") // another peer in the same swarm
		a.wantCounts("1", 0, 2)
		b.announce("1", "b")
		b.wantCounts("1", 0, 3)
		c := s.connect("/announce")
		c.announce("1", "c", "offers", offers("x"))
		c.wantFailure("announce", "too many peers")
		c.Say(fields("scrape", "info_hash", "["+binary("1")+"]"))
		c.Hear()
		if len(a.Frames)+len(b.Frames) > 0 {
			t.Error("a refused peer's offer was passed on")
		}
		for why, want := range map[meter.Reason]uint64{meter.TopicsOfClient: 1, meter.TopicSubscribers: 1} {
			if got := refusals.Count(why); got != want {
				t.Errorf("%v was counted %d times, want %d", why, got, want)
			}
		}
	})
}

// Beyond the maximum, a new swarm of the same address replaces the one without an announce
// for the longest time. A swarm without announces for 20 minutes goes when another comes. Their peers
// return with their next announce.
func TestTrackerForgetsSwarms(t *testing.T) {
	refusals := meter.NewRefusals(false)
	inBubble(t, topichttp.Config{Swarms: 3, PerConnection: 3, Refusals: refusals}, func(s *server) {
		a, b := s.connect("/announce"), s.connect("/announce")
		for _, swarm := range []string{"1", "2", "3", "1"} {
			a.announce(swarm, "a")
			a.wantCounts(swarm, 0, 1)
			time.Sleep(time.Second)
		}
		stats := func(swarms, peers int) {
			t.Helper()
			if n, m := s.handler.SwarmStats(); n != swarms || m != peers {
				t.Fatalf("%d swarms with %d peers, want %d with %d", n, m, swarms, peers)
			}
		}
		b.announce("4", "b")
		b.wantCounts("4", 0, 1)
		stats(3, 3)
		b.Say(fields("scrape", "info_hash", "["+binary("2")+"]"))
		b.Want(`{"action":"scrape","files":{` + binary("2") + `:{"complete":0,"incomplete":0,"downloaded":0}},"flags":{"min_request_interval":120}}`)
		if n := s.topics.Subscribers("tracker:" + unquote(binary("2"))); n != 0 {
			t.Errorf("%d subscriptions of a dropped swarm", n)
		}
		a.announce("2", "a") // replaces 3, in which a no longer counts
		a.wantCounts("2", 0, 1)
		a.announce("2", "a", "event", `"completed"`)
		a.wantCounts("2", 1, 0)
		stats(3, 3)
		if n := refusals.Count(meter.TrackerSwarms); n != 2 {
			t.Errorf("%d swarms were counted as dropped, want 2", n)
		}
		time.Sleep(20 * time.Minute)
		b.announce("5", "b")
		b.wantCounts("5", 0, 1)
		stats(1, 1)
		a.Conn.Close()
		b.Conn.Close()
		synctest.Wait()
		stats(0, 0)
	})
}

func unquote(quoted string) (text string) {
	if err := json.Unmarshal([]byte(quoted), &text); err != nil {
		panic(err)
	}
	var b []byte
	for _, r := range text {
		b = append(b, byte(r))
	}
	return string(b)
}

// Peers at a server that has crashed are forgotten after five minutes, and those of one
// that lives are not. Its messages cannot do more harm than its peers could.
func TestTrackerForgetsServers(t *testing.T) {
	c := topichttp.Config{Topics: memtopics.New(inbox.TopicLimits{}), SwarmPeers: 5}
	inBubble(t, c, func(s *server) {
		second := start(s.TB, c, inboxtest.Listen())
		a, b := s.connect("/announce"), second.connect("/announce")
		for i := range 40 { // twenty minutes
			a.announce("s", "a")
			a.Hear()
			b.announce("s", "b")
			b.Hear()
			if i == 0 {
				topic := "tracker:" + unquote(binary("s"))
				var peers []byte
				for i := range 100 {
					peers = append(append(peers, 's'), unquote(binary(fmt.Sprint(i)))...)
				}
				for _, message := range []string{"", "h", "p", "hcrashed1", "pcrashed1" + string(peers), "gcrashed1", "scrashed1", "xcrashed1" + string(peers)} {
					if err := s.topics.Publish(topic, []byte(message)); err != nil {
						t.Fatal(err)
					}
				}
			}
			a.announce("s", "a")
			if i < 9 {
				a.wantCounts("s", 4, 2) // SwarmPeers bounds the others
			} else if i > 11 {
				a.wantCounts("s", 0, 2)
			} else {
				a.Hear()
			}
			time.Sleep(30 * time.Second)
		}
	})
}

// A client that announces beyond its rate waits. It loses nothing, and others are not
// delayed.
func TestTrackerAnnouncesWait(t *testing.T) {
	refusals := meter.NewRefusals(false)
	limits := limit.Config{Copies: limit.Rate{PerSecond: 10, Burst: 20}, Refusals: refusals}
	limitedBubble(t, limits, topichttp.Config{Refusals: refusals}, func(s *server) {
		a := s.connect("/announce")
		for i := range 10 {
			a.announce("s", fmt.Sprint("a", i))
			a.Hear()
		}
		flood, err := s.try("/announce", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		go flood.Read()
		begin := time.Now()
		go func() {
			for range 10 {
				flood.announce("s", "f", "offers", offers("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"))
			}
		}()
		for range 10 {
			flood.wantCounts("s", 0, 11)
		}
		// 100 copies, of which 20 are the burst. The last announce does not wait.
		if took := time.Since(begin); took < 6*time.Second || took > 9*time.Second {
			t.Errorf("ten announces with ten offers took %v at ten copies a second", took)
		}
		synctest.Wait()
		if n := len(a.Frames); n != 100 {
			t.Errorf("%d offers arrived, want 100", n)
		}
		if refusals.Count(meter.AddressCopies) == 0 {
			t.Error("no wait was counted")
		}
	})
}

// A client that announces nothing but nonsense is disconnected.
func TestTrackerFlood(t *testing.T) {
	limits := limit.Config{Requests: limit.Rate{PerSecond: 1, Burst: 5}}
	limitedBubble(t, limits, topichttp.Config{}, func(s *server) {
		c, err := s.try("/announce", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		go c.Read()
		go func() {
			for range 100 {
				c.announce("s", "c", "event", `"stopped"`)
			}
		}()
		for range c.Frames {
		}
		if code := c.Code.Load(); code != 4429 {
			t.Errorf("closed with %d, want 4429", code)
		}
	})
}

// A client that does not read loses offers and stays connected.
func TestTrackerClientsThatDoNotRead(t *testing.T) {
	t.Parallel()
	s := overLoopback(t, topichttp.Config{})
	stuck, err := s.try("/announce", "")
	if err != nil {
		t.Fatal(err)
	}
	stuck.announce("s", "stuck")
	a := s.connect("/announce")
	a.announce("s", "a")
	a.Hear()
	a.scrapes("s", 0, 2)
	big := `[{"offer":` + sdp("offer", strings.Repeat("x", 60<<10)) + `,"offer_id":` + binary("1") + `}]`
	inboxtest.Until(t, "offers are dropped", func() bool {
		a.announce("s", "a", "offers", big)
		a.wantCounts("s", 0, 2)
		return s.handler.Dropped() > 10
	})
	go stuck.Read()
	for heard := false; !heard; {
		a.announce("s", "a", "offers", offers("last"))
		a.wantCounts("s", 0, 2)
		for len(stuck.Frames) > 0 {
			heard = strings.Contains(stuck.Hear(), `"last"`) || heard
		}
	}
}

// from connects to the tracker from an address, and starts to read.
func (s *server) from(address string) *client {
	s.Helper()
	c, err := s.try("/announce", address)
	if err != nil {
		s.Fatal(err)
	}
	go c.Read()
	return c
}

// A network that creates more swarms than there is room for replaces its own, however many
// addresses it has.
func TestTrackerSharesSwarmsFairly(t *testing.T) {
	limitedBubble(t, limit.Config{}, topichttp.Config{Swarms: 8}, func(s *server) {
		join := func(c *client, swarm string) {
			c.announce(swarm, "p")
			c.Hear()
			time.Sleep(time.Second)
		}
		honest := s.from("192.0.2.1")
		for i := range 3 {
			join(honest, fmt.Sprint("h", i))
		}
		for i := range 30 {
			join(s.from(fmt.Sprintf("2001:db8:0:%x::1", i)), fmt.Sprint("greedy", i))
		}
		for i := range 3 {
			honest.scrapes(fmt.Sprint("h", i), 0, 1)
		}
		others := s.from("192.0.2.2")
		for i := range 2 { // each replaces the oldest of the greedy
			join(others, fmt.Sprint("o", i))
		}
		for swarm, n := range map[string]int{"h0": 1, "h1": 1, "h2": 1, "o0": 1, "o1": 1, "greedy26": 0, "greedy27": 1, "greedy29": 1} {
			honest.scrapes(swarm, 0, n)
		}
	})
}

// An answer to an id that many connections use counts for each of them.
func TestTrackerChargesCopiesOfAnswers(t *testing.T) {
	limits := limit.Config{Copies: limit.Rate{PerSecond: 10, Burst: 20}}
	limitedBubble(t, limits, topichttp.Config{}, func(s *server) {
		for range 20 { // of an address that is not limited
			c := s.connect("/announce")
			c.announce("s", "same")
			c.Hear()
		}
		c, err := s.try("/announce", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		go c.Read()
		c.announce("s", "c")
		c.wantCounts("s", 0, 21)
		begin := time.Now()
		for range 5 {
			c.answer("s", "c", "same", "x")
		}
		c.announce("s", "c")
		c.wantCounts("s", 0, 21)
		if took := time.Since(begin); took < 7*time.Second || took > 12*time.Second {
			t.Errorf("100 copies took %v at ten a second", took)
		}
	})
}

// Frames that wait for the rate of their address count as in flight.
func TestWaitingFramesAreInFlight(t *testing.T) {
	big := strings.Repeat("x", 50<<10)
	for path, frame := range map[string]string{
		"/announce": fields("announce", "info_hash", binary("s"), "peer_id", binary("p"), "offers", offers(big[:0]), "pad", `"`+big+`"`),
		"/trystero": `{"type":"publish","topic":"t","payload":"` + big + `"}`,
		"/yjs":      `{"type":"publish","topic":"t","data":"` + big + `"}`,
	} {
		limits := limit.Config{Copies: limit.Rate{PerSecond: .01, Burst: 1}}
		budget := flight.New(1 << 20)
		limitedBubble(t, limits, topichttp.Config{InFlight: budget}, func(s *server) {
			var all []*client
			for range 50 {
				c, err := s.try(path, "192.0.2.1")
				if err != nil {
					t.Fatal(err)
				}
				go c.Read()
				c.Say(frame)
				synctest.Wait()
				all = append(all, c)
			}
			refused := 0
			for _, c := range all {
				if code := c.Code.Load(); code == 1013 {
					refused++
				} else if code != 0 {
					t.Errorf("%s: closed with %d, want 1013", path, code)
				}
			}
			// The first one was published, and 20 of 50 KiB fit into the budget.
			if used := budget.Used(); refused < 28 || refused > 31 || used < 900<<10 {
				t.Errorf("%s: %d connections were closed, and %d bytes are in flight", path, refused, used)
			}
			for i, c := range all {
				if i%2 == 0 {
					c.Conn.Close()
				}
			}
			time.Sleep(10 * time.Hour) // the others are published
			if used := budget.Used(); used != 0 {
				t.Errorf("%s: %d bytes are in flight at the end", path, used)
			}
		})
	}
}

// One address cannot fill a swarm and keep others out. Its peers return when there is room.
func TestTrackerSharesSwarmWithOthers(t *testing.T) {
	limitedBubble(t, limit.Config{}, topichttp.Config{SwarmPeers: 10}, func(s *server) {
		greedy, honest := s.from("192.0.2.1"), s.from("192.0.2.2")
		for i := range 10 {
			greedy.announce("s", fmt.Sprint("g", i))
			greedy.wantCounts("s", 0, i+1)
		}
		for i := range 5 {
			honest.announce("s", fmt.Sprint("h", i))
			honest.wantCounts("s", 0, 10)
		}
		honest.announce("s", "h5") // both have five
		honest.wantFailure("announce", "too many peers")
		refused := 0
		for i := range 10 {
			greedy.announce("s", fmt.Sprint("g", i))
			if strings.Contains(greedy.Hear(), "too many peers") {
				refused++
			}
		}
		if refused != 5 {
			t.Errorf("%d peers of the greedy address were refused, want 5", refused)
		}
		honest.Conn.Close()
		synctest.Wait()
		for i := range 10 {
			greedy.announce("s", fmt.Sprint("g", i))
			greedy.Hear()
		}
		greedy.scrapes("s", 0, 10)
		greedy.Conn.Close()
		synctest.Wait()
		if swarms, peers := s.handler.SwarmStats(); swarms != 0 || peers != 0 {
			t.Errorf("%d swarms and %d peers are left", swarms, peers)
		}
	})
}

// The memory of many topics and swarms counts as in flight, until they end.
func TestSubscriptionsAreInFlight(t *testing.T) {
	name := strings.Repeat("n", 300)
	for path, c := range map[string]struct {
		frame func(i int) string
		each  int // bytes
	}{
		"/announce": {func(i int) string {
			return fields("announce", "info_hash", binary(fmt.Sprint(i)), "peer_id", binary("p"))
		}, 200},
		"/trystero": {func(i int) string { return fmt.Sprintf(`{"type":"subscribe","topic":"%s%d"}`, name, i) }, 500},
		"/yjs":      {func(i int) string { return fmt.Sprintf(`{"type":"subscribe","topics":["%s%d"]}`, name, i) }, 500},
	} {
		budget := flight.New(100 << 10)
		refusals := meter.NewRefusals(false)
		inBubble(t, topichttp.Config{InFlight: budget, PerConnection: 10_000, Refusals: refusals, Topics: memtopics.New(inbox.TopicLimits{})}, func(s *server) {
			ends := s.connect(path)
			for i := range 20 {
				ends.Say(c.frame(i))
			}
			time.Sleep(time.Minute) // the first announces of a swarm count for a while
			if used := budget.Used(); used > 4<<10 {
				t.Errorf("%s: 20 subscriptions take %d bytes of those in flight", path, used)
			}
			all := s.connect(path)
			for i := range 600 {
				all.Say(c.frame(i))
				time.Sleep(time.Second)
			}
			most := uint64((108<<10)/c.each + 1)
			if n := refusals.Count(meter.TopicsOfClient); n < 600-most || n > 700-most {
				t.Errorf("%s: %d of 600 subscriptions were refused", path, n)
			}
			all.Conn.Close()
			ends.Conn.Close()
			time.Sleep(time.Minute)
			if used := budget.Used(); used != 0 {
				t.Errorf("%s: %d bytes are in flight at the end", path, used)
			}
		})
	}
}
