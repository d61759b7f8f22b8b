package topichttp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/meter"
	"inbox/memtopics"
	"inbox/topichttp"
	"inbox/topicstest"
)

// binary returns an id of 20 bytes in JSON, which begins with name. The others include
// control characters and bytes above 127.
func binary(name string) string {
	text, rest := []rune(name), []rune{0, 0x1f, '"', '\\', '/', 0x7f, 0x80, 0xff}
	for i := len(text); i < 20; i++ {
		text = append(text, rest[i%len(rest)])
	}
	b, err := json.Marshal(string(text))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// fields returns a frame with an action and the given names and JSON values.
func fields(action string, values ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"action":%q`, action)
	for i := 0; i < len(values); i += 2 {
		fmt.Fprintf(&b, ",%q:%s", values[i], values[i+1])
	}
	return b.String() + "}"
}

// announce announces a peer in a swarm.
func (c *client) announce(swarm, peer string, more ...string) {
	c.Say(fields("announce", append([]string{"info_hash", binary(swarm), "peer_id", binary(peer)}, more...)...))
}

func (c *client) wantCounts(swarm string, complete, incomplete int) {
	c.Helper()
	c.Want(fields("announce", "interval", "120", "complete", fmt.Sprint(complete), "incomplete", fmt.Sprint(incomplete), "info_hash", binary(swarm)))
}

func (c *client) wantSignal(what, swarm, peer, offer string) {
	c.Helper()
	c.Want(fields("announce", what, sdp(what, offer), "offer_id", binary(offer), "peer_id", binary(peer), "info_hash", binary(swarm)))
}

// wantFailure fails unless the next frame has this failure reason.
func (c *client) wantFailure(action, reason string) {
	c.Helper()
	var got map[string]any
	if text := c.Hear(); json.Unmarshal([]byte(text), &got) != nil || got["action"] != action || !strings.Contains(fmt.Sprint(got["failure reason"]), reason) {
		c.Fatalf("got %.300s, want the failure of a %s: %s", text, action, reason)
	}
}

func sdp(kind, text string) string { return fmt.Sprintf(`{"type":%q,"sdp":%q}`, kind, text) }

// offers returns offers with these names.
func offers(names ...string) string {
	var b []string
	for _, name := range names {
		b = append(b, fmt.Sprintf(`{"offer":%s,"offer_id":%s}`, sdp("offer", name), binary(name)))
	}
	return "[" + strings.Join(b, ",") + "]"
}

func (c *client) answer(swarm, peer, to, offer string) {
	c.announce(swarm, peer, "answer", sdp("answer", offer), "to_peer_id", binary(to), "offer_id", binary(offer))
}

// scrapes scrapes a swarm until it has these counts, which take a moment to reach another
// server. No other frame may arrive.
func (c *client) scrapes(swarm string, complete, incomplete int) {
	c.Helper()
	want := fmt.Sprintf(`{"complete":%d,"incomplete":%d,"downloaded":%[1]d}`, complete, incomplete)
	inboxtest.Until(c.TB, "the swarm has "+want, func() bool {
		c.Say(fields("scrape", "info_hash", binary(swarm)))
		text := c.Hear()
		if !strings.HasPrefix(text, `{"action":"scrape","files":{`) {
			c.Fatalf("got %.300s, want the answer to a scrape", text)
		}
		return strings.Contains(text, want)
	})
}

// overServers runs a test with two clients' servers: one server, two that share their
// topics in memory, and two that share a Redis.
func overServers(t *testing.T, f func(t *testing.T, a, b *server)) {
	t.Parallel()
	t.Run("one server", func(t *testing.T) {
		inBubble(t, topichttp.Config{}, func(s *server) { f(t, s, s) })
	})
	t.Run("two servers", func(t *testing.T) {
		c := topichttp.Config{Topics: memtopics.New(inbox.TopicLimits{})}
		inBubble(t, c, func(a *server) { f(t, a, start(a.TB, c, inboxtest.Listen())) })
	})
	t.Run("two servers, one Redis", func(t *testing.T) {
		t.Parallel()
		both := twoServers(t, topichttp.Config{})
		f(t, both[0], both[1])
	})
}

// Two peers meet: offers reach others, answers reach the peer that has offered, and the
// counts follow announces, events, and lost connections.
func TestTracker(t *testing.T) {
	overServers(t, func(t *testing.T, sa, sb *server) {
		a, b := sa.connect("/announce"), sb.connect("/announce?token=x")
		a.announce("s", "a", "event", `"started"`, "left", "5", "numwant", "0", "offers", offers(), "uploaded", "0")
		a.wantCounts("s", 0, 1)
		b.announce("s", "b", "left", "0", "offers", offers())
		b.Hear() // the counts; b's server may not know a yet
		a.scrapes("s", 1, 1)
		b.scrapes("s", 1, 1)

		b.announce("s", "b", "offers", offers("3", "4"))
		b.wantCounts("s", 1, 1)
		a.wantSignal("offer", "s", "b", "3")
		a.answer("s", "a", "b", "3")
		b.wantSignal("answer", "s", "a", "3")
		a.announce("s", "a", "event", `"update"`, "left", "null", "offers", offers("5"))
		a.wantCounts("s", 1, 1)
		b.wantSignal("offer", "s", "a", "5")

		a.announce("s", "a", "event", `"completed"`)
		a.wantCounts("s", 2, 0)
		b.scrapes("s", 2, 0)
		b.announce("s", "b", "event", `"stopped"`, "offers", offers("6"))
		b.Hear()
		a.scrapes("s", 1, 0)
		b.announce("s", "b", "event", `"paused"`)
		b.Hear()
		a.scrapes("s", 1, 1)
		b.Conn.Close()
		a.scrapes("s", 1, 0)
		a.announce("s", "a", "offers", offers("7"))
		a.wantCounts("s", 1, 0)
	})
}

// The first offers of a peer reach peers at other servers, although its server does not
// know these peers yet.
func TestTrackerFindsPeersAtOtherServers(t *testing.T) {
	overServers(t, func(t *testing.T, sa, sb *server) {
		a := sa.connect("/announce")
		for i := range 30 {
			a.announce("s", fmt.Sprint("a", i), "left", fmt.Sprint(i%3))
			a.Hear()
		}
		b := sb.connect("/announce")
		b.announce("s", "b", "offers", offers("1", "2", "3"))
		b.Hear() // the counts: b's server may not know a's peers yet
		heard := make(map[string]bool)
		for range 3 {
			heard[a.Hear()] = true
		}
		if len(heard) != 3 {
			t.Errorf("heard %v, want three offers", heard)
		}
		b.scrapes("s", 10, 21)
		a.scrapes("s", 10, 21) // no offer arrives twice
		for _, to := range []string{"a0", "a29"} {
			b.answer("s", "b", to, to)
			a.wantSignal("answer", "s", "b", to)
		}
		a.Conn.Close()
		b.scrapes("s", 0, 1)
	})
}

// Nobody can take over or end the peer of another connection, which may have the same
// peer_id: a page that reconnects before its lost connection is noticed.
func TestTrackerSamePeerID(t *testing.T) {
	overServers(t, func(t *testing.T, sa, sb *server) {
		victim, thief, other := sa.connect("/announce"), sb.connect("/announce"), sb.connect("/announce")
		victim.announce("s", "v")
		victim.wantCounts("s", 0, 1)
		other.announce("s", "o")
		other.Hear()
		other.scrapes("s", 0, 2)
		for _, event := range []string{`"stopped"`, `"started"`, `"completed"`, `"stopped"`} {
			thief.announce("s", "v", "event", event)
			thief.Hear()
		}
		other.scrapes("s", 0, 2)
		thief.announce("s", "v", "offers", offers("1", "2", "3"))
		thief.Hear()
		other.wantSignal("offer", "s", "v", "1") // and none for the victim, which has its id
		other.scrapes("s", 0, 3)
		other.answer("s", "o", "v", "x")
		victim.wantSignal("answer", "s", "o", "x")
		thief.wantSignal("answer", "s", "o", "x")
		thief.Conn.Close()
		other.scrapes("s", 0, 2)
		other.answer("s", "o", "v", "y")
		victim.wantSignal("answer", "s", "o", "y")
	})
}

// The tracker passes at most 82 offers on, each to another peer, and none back.
func TestTrackerOffers(t *testing.T) {
	overServers(t, func(t *testing.T, sa, sb *server) {
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprint(i))
		}
		a, b, from := sa.connect("/announce"), sb.connect("/announce"), sa.connect("/announce")
		for i := range 50 {
			a.announce("s", fmt.Sprint("a", i))
			a.Hear()
			b.announce("s", fmt.Sprint("b", i))
			b.Hear()
		}
		from.announce("s", "f")
		from.Hear()
		from.scrapes("s", 0, 101)
		seen := make(map[string]bool)
		for i := range 2 {
			from.announce("s", "f", "offers", offers(names[:60*(i+1)-i*20]...)) // 60, and 100
			from.wantCounts("s", 0, 101)
			var got []string
			inboxtest.Until(t, "the offers arrive", func() bool {
				for _, c := range []*client{a, b} {
					for len(c.Frames) > 0 {
						got = append(got, c.Hear())
					}
				}
				return len(got) >= []int{60, 82}[i]
			})
			from.scrapes("s", 0, 101)
			if n := len(got) + len(a.Frames) + len(b.Frames); n != []int{60, 82}[i] {
				t.Fatalf("%d offers arrived", n)
			}
			for _, text := range got {
				seen[text] = true
			}
		}
		if len(seen) != 82 {
			t.Errorf("%d different offers arrived, want 82", len(seen))
		}
	})
}

// An invalid request gets its reason, with an action: without one, clients disconnect.
func TestTrackerRefusesNonsense(t *testing.T) {
	refusals := meter.NewRefusals(false)
	inBubble(t, topichttp.Config{Refusals: refusals}, func(s *server) {
		a := s.connect("/announce")
		long := `"` + strings.Repeat(`\u0061`, 20) + `"`
		hash, peer := []string{"info_hash", binary("s")}, []string{"peer_id", binary("a")}
		both := append(append([]string{}, hash...), peer...)
		with := func(more ...string) string {
			return fields("announce", append(append([]string{}, both...), more...)...)
		}
		frames := map[string][]string{
			"action must":    {"", "x", "[]", "null", "{}", `{"action":1}`, `{"action":"start"}`, fields("announce", both...) + "x"},
			"info_hash must": {fields("announce", peer...), fields("announce", append(peer, "info_hash", `"short"`)...), fields("announce", append(peer, "info_hash", `20`)...)},
			"peer_id must":   {fields("announce", hash...), fields("announce", append(hash, "peer_id", `"`+strings.Repeat("a", 21)+`"`)...)},
			"unknown event":  {with("event", `"finished"`), with("event", "1"), with("event", "[]")},
			"offers needs":   {with("offers", "1"), with("offers", `"x"`), with("offers", "[1]"), with("offers", "[{}]"), with("offers", `[{"offer":{}}]`), with("offers", `[{"offer":"x","offer_id":`+long+`}]`), with("offers", `[{"offer":{},"offer_id":"x"}]`)},
			"answer must":    {with("answer", "{}"), with("answer", "{}", "to_peer_id", long), with("answer", "{}", "offer_id", long), with("answer", "1", "to_peer_id", long, "offer_id", long)},
		}
		for _, bad := range []string{strings.Repeat("日", 20), strings.Repeat("a", 19) + `\u0100`, strings.Repeat("a", 19) + `\ud800`, strings.Repeat("a", 19), ""} {
			frames["info_hash must"] = append(frames["info_hash must"], fields("announce", append(peer, "info_hash", `"`+bad+`"`)...))
		}
		n := uint64(0)
		for reason, each := range frames {
			for _, frame := range each {
				a.Say(frame)
				a.wantFailure("announce", reason)
				n++
			}
		}
		for _, hashes := range []string{"null", "1", "[]", "{}", `"short"`, `[1]`, `[` + long + `,"short"]`, `[` + long + strings.Repeat(`,`+long, 200) + `]`} {
			a.Say(fields("scrape", "info_hash", hashes))
			a.wantFailure("scrape", "info_hash")
			n++
		}
		a.Say(fields("scrape"))
		a.wantFailure("scrape", "info_hash")
		if got := refusals.Count(meter.BadRequest); got != n+1 {
			t.Errorf("%d refusals were counted, want %d", got, n+1)
		}
		if swarms, peers := s.handler.SwarmStats(); swarms != 0 || peers != 0 {
			t.Errorf("%d swarms with %d peers", swarms, peers)
		}
		// Other spellings of valid requests.
		for _, frame := range []string{
			with("event", "null"), with("event", `""`), with("event", `"empty"`), with("offers", "null"), with("answer", "null"), with("left", `"x"`),
			`{"action":"x","action":"\u0061nnounce","info_hash":` + binary("s") + `,"peer_id":` + binary("a") + `}`,
		} {
			a.Say(frame)
			a.wantCounts("s", 0, 1)
		}
		a.Say(fields("scrape", "info_hash", "["+binary("s")+","+long+"]"))
		a.Want(`{"action":"scrape","files":{` + binary("s") + `:{"complete":0,"incomplete":1,"downloaded":0},` + long + `:{"complete":0,"incomplete":0,"downloaded":0}},"flags":{"min_request_interval":120}}`)
	})
}

// The answer to a plain HTTP request names the supported protocol.
func TestTrackerOverHTTP(t *testing.T) {
	inBubble(t, topichttp.Config{AllowOrigins: []string{"https://app.example"}}, func(s *server) {
		status, text, h := s.get("GET", "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&port=1")
		if status != http.StatusUpgradeRequired || text != "HTTP and UDP trackers are not served here. WebTorrent clients connect here, by WebSocket.\n" || h.Get("Upgrade") != "websocket" {
			t.Errorf("GET: %d %q %v", status, text, h)
		}
		if status, _, _ := s.get("GET", "/announce", "Origin", "https://evil.example"); status != http.StatusForbidden {
			t.Errorf("another page: %d", status)
		}
		if status, _, _ := s.get("POST", "/announce"); status != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", status)
		}
	})
}

// If a swarm is new to two servers, only one of them passes early offers on.
func TestTrackerOffersDoNotCross(t *testing.T) {
	for name, id := range map[string]string{"to this one": "\x00\x00\x00\x00\x00\x00\x00\x00", "to the other": "\xff\xff\xff\xff\xff\xff\xff\xff"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, topichttp.Config{}, func(s *server) {
				topic, l := "tracker:"+unquote(binary("s")), new(topicstest.Listener)
				if _, err := s.topics.Subscribe(topic, l); err != nil {
					t.Fatal(err)
				}
				a := s.connect("/announce")
				a.announce("s", "a", "offers", offers("1"))
				a.wantCounts("s", 0, 1)
				for _, kind := range []string{"h", "r"} {
					if err := s.topics.Publish(topic, []byte(kind+id+"l"+unquote(binary("b")))); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				passed := slices.ContainsFunc(l.Bodies(), func(body string) bool { return body[0] == 's' })
				if want := name == "to the other"; passed != want {
					t.Errorf("the offer was passed on: %v, want %v", passed, want)
				}
			})
		})
	}
}

// FuzzTracker sends a frame and a message of another server to a swarm with a peer. The
// server must stay able to serve its peer.
func FuzzTracker(f *testing.F) {
	f.Add(fields("announce", "info_hash", binary("s"), "peer_id", binary("b"), "offers", offers("1"), "left", "0"), []byte("hserver-1l"+unquote(binary("b"))))
	f.Add(fields("announce", "info_hash", binary("s"), "peer_id", binary("b"), "answer", "{}", "to_peer_id", binary("a"), "offer_id", binary("1")), []byte("sserver-1"+unquote(binary("a"))+"{}"))
	f.Add(fields("scrape", "info_hash", "["+binary("s")+"]"), []byte("gserver-1"+unquote(binary("b"))))
	f.Add(fields("announce", "info_hash", binary("s"), "peer_id", binary("a"), "event", `"stopped"`), []byte("pserver-1s"+unquote(binary("a"))+"l"))
	f.Fuzz(func(t *testing.T, frame string, message []byte) {
		if len(frame) > 100_000 {
			return
		}
		inBubble(t, topichttp.Config{}, func(s *server) {
			a, b := s.connect("/announce"), s.connect("/announce")
			a.announce("s", "a")
			a.wantCounts("s", 0, 1)
			if err := s.topics.Publish("tracker:"+unquote(binary("s")), bytes.Clone(message)); err != nil {
				t.Fatal(err)
			}
			go b.Say(frame) // text that is not UTF-8 ends b's socket
			synctest.Wait()
			a.announce("s", "a")
			for !strings.Contains(a.Hear(), `"interval":120`) {
			}
		})
	})
}
