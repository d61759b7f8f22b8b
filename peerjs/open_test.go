package peerjs_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/peerjs"
)

const (
	taken = `{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}`
	full  = `{"type":"ERROR","payload":{"msg":"Server has reached its concurrent user limit"}}`
)

func errorFrame(msg string) string { return fmt.Sprintf(`{"type":"ERROR","payload":{"msg":%q}}`, msg) }

// A refused client gets a frame and then the end. The next client is admitted.
func TestRefusals(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		const nothing = "No id, token, or key supplied to websocket server"
		s.open("alice")
		var refused []*client
		for query, frame := range map[string]string{
			"":                                errorFrame(nothing),
			"key=peerjs&id=x":                 errorFrame(nothing),
			"key=peerjs&token=x":              errorFrame(nothing),
			"id=x&token=x":                    errorFrame(nothing),
			"key=peerjs&id=&token=x":          errorFrame(nothing),
			"key=Peerjs&id=x&token=x":         errorFrame("Invalid key provided"),
			"key=peerjs&id=%ff&token=x":       errorFrame("An id has at most 512 bytes of UTF-8"),
			"key=peerjs&id=alice&token=x":     taken,
			"key=peerjs&id=%61lice&token=x":   taken,
			"key=peerjs&token=x&id=alice&y=z": taken,
			"key=peerjs&token=x&id=" + strings.Repeat("x", inbox.MaxID+1): errorFrame("An id has at most 512 bytes of UTF-8"),
		} {
			c := s.dialQuery(query)
			c.Want(frame)
			refused = append(refused, c) // it may take a moment to read why
		}
		for _, c := range refused {
			c.WantClosed(4400)
		}
		s.open("x")
	})
}

// A refused client has a moment to read the reason. Its messages are not forwarded.
func TestRefusedClientReadsWhy(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		alice, hub := s.open("alice"), s.open("hub")
		for query, frame := range map[string]string{
			"key=peerjs&id=alice&token=x": taken,
			"key=wrong&id=x&token=x":      errorFrame("Invalid key provided"),
		} {
			c := s.dialQuery(query)
			c.Want(frame)
			c.offer("hub", "1")
			s.wantElapsed(elapsed(func() { c.WantClosed(4400) }), 2*time.Second, 2*time.Second)
		}
		alice.offer("hub", "2")
		hub.wantFrom("alice", "OFFER", "2")
	})
}

// Ids and tokens have no rule except their length.
func TestAnyIDAndToken(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		hub := s.open("hub")
		for _, id := range []string{"a", "two words", "日本語", `quo"te\`, "a:b", "peerjs:x", "%", "a%b", "\x01", "a;b", "a&b", strings.Repeat("x", inbox.MaxID)} {
			c := s.open(id)
			hub.Say(`{"type":"OFFER","dst":` + quote(id) + `,"payload":1}`)
			c.Want(`{"type":"OFFER","src":"hub","dst":` + quote(id) + `,"payload":1}`)
			c.offer("hub", "2")
			hub.Want(`{"type":"OFFER","src":` + quote(id) + `,"dst":"hub","payload":2}`)
		}
		// Browsers send these unencoded, and a token may be long.
		for _, query := range []string{"id=50%&token=7%", "id=a;b;c&token=d;e", "id=jwt&token=" + strings.Repeat("e30.", 2000)} {
			s.dialQuery("key=peerjs&" + query).Want(`{"type":"OPEN"}`)
			s.dialQuery("key=peerjs&" + query).Want(`{"type":"OPEN"}`)
			id, _, _ := strings.Cut(query, "&")
			s.dialQuery("key=peerjs&" + id + "&token=another").Want(taken)
		}
	})
}

// An id is free as soon as its peer has left.
func TestIDIsFreeAgain(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		for token, leave := range map[string]func(*client){
			"one":   (*client).leave,
			"two":   func(c *client) { c.Conn.Close(); s.turnClock(time.Millisecond) },
			"three": func(c *client) { c.Say(`{"type":"LEAVE"}`); s.turnClock(time.Millisecond) },
		} {
			leave(s.untilOpen("alice", token))
		}
		s.untilOpen("alice", "four")
	})
}

// A client that does not answer is noticed within half a minute, and its id becomes free.
func TestSilentClient(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		c := s.open("alice")
		c.Muted.Store(true)
		s.wantElapsed(elapsed(func() {
			for {
				other := s.knock("alice", "another")
				if got := other.Hear(); got != taken {
					break
				}
				other.WantClosed(4400)
				time.Sleep(time.Second)
			}
		}), 29*time.Second, 33*time.Second)
	})
}

// A client that answers pings, or only sends heartbeats, stays open, and so does its
// inbox.
func TestLiveness(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		pongs, beats, other := s.open("pongs"), s.open("beats"), s.open("other")
		beats.Muted.Store(true)
		for range 60 {
			beats.Say(`{"type":"HEARTBEAT"}`)
			time.Sleep(5 * time.Second)
		}
		for _, c := range []*client{pongs, beats} {
			other.offer(c.id, "{}")
			c.wantFrom("other", "OFFER", "{}")
		}
	})
}

// A client with the same id and token takes over immediately, and the old socket is
// closed.
func TestTakeover(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		old, bob := s.open("alice"), s.open("bob")
		bob.offer("alice", "1")
		old.wantFrom("bob", "OFFER", "1")
		old.offer("bob", "0") // makes the server acknowledge what was read
		bob.wantFrom("alice", "OFFER", "0")
		s.turnClock(time.Minute)
		var c *client
		s.wantElapsed(elapsed(func() { c = s.open("alice") }), 0, time.Millisecond)
		s.wantElapsed(elapsed(func() { old.WantClosed(4409) }), 0, time.Millisecond)
		c.silent(10 * time.Second) // messages that the old socket has read do not arrive again
		bob.offer("alice", "2")
		c.wantFrom("bob", "OFFER", "2")
		s.knock("alice", "another").Want(taken)
	})
}

// Two pages that share an id and a token and reconnect when they are closed are slowed
// down: a replaced socket still lives for two seconds. It can send but receives nothing.
func TestFight(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		bob := s.open("bob")
		first := s.open("alice")
		second := s.open("alice")
		first.offer("bob", "1")
		bob.wantFrom("alice", "OFFER", "1")
		bob.offer("alice", "2")
		second.wantFrom("bob", "OFFER", "2")
		s.wantElapsed(elapsed(func() { first.WantClosed(4409) }), 1900*time.Millisecond, 2*time.Second)
		second.silent(time.Second)

		var takeovers atomic.Int64
		end := time.Now().Add(time.Minute)
		tab := func(c *client) {
			for time.Now().Before(end) {
				c.WantClosed(4409)
				c = s.open("alice")
				takeovers.Add(1)
			}
		}
		third := s.open("alice")
		done := make(chan bool)
		for _, c := range []*client{second, third} {
			go func() { tab(c); done <- true }()
		}
		<-done
		last := s.open("alice") // also closes the other tab
		<-done
		if n := takeovers.Load(); n < 10 || n > 70 {
			t.Errorf("%d takeovers in a minute", n)
		}
		last.silent(time.Second)
	})
}

// The server's limits are those of its store.
func TestConcurrentLimit(t *testing.T) {
	inBubbleWith(t, inbox.Limits{Inboxes: 2}, peerjs.Config{}, func(s *server) {
		s.open("alice")
		s.open("bob")
		c := s.knock("carol", "token")
		c.Want(full)
		c.WantClosed(4400)
		alice := s.open("alice") // takes over and needs no room
		alice.offer("nobody", "{}")
		alice.wantExpire("nobody")
		s.open("bob").leave()
		s.open("carol")
	})
}

// Neither protocol can name the other's peers, and neither can one key those of another.
func TestSeparateNamespaces(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		other := start(s.TB, peerjs.Config{Store: s.store, Key: "other"})
		alice := s.open("alice")
		for _, id := range []string{"alice", "peerjs:alice", "peerjs:peerjs:alice"} {
			err := inbox.CheckID(id)
			if ours := strings.Contains(id, ":"); ours != (err != nil) {
				t.Errorf("%q as an id of the inbox protocol: %v", id, err)
			}
		}
		own := inbox.Peer{ID: "alice", Secret: pepper.Secret("alice", "password")}
		if _, err := s.store.Look(s.Context(), own, inbox.Cursor{}, 1, nil); err != nil {
			t.Errorf("alice of the inbox protocol: %v", err)
		}
		if _, err := s.store.Send(s.Context(), own, "alice", inbox.Draft{Body: []byte("x")}); err != nil {
			t.Error(err)
		}
		alice.silent(time.Minute)

		namesake := other.dialQuery("key=other&id=alice&token=another")
		namesake.Want(`{"type":"OPEN"}`)
		bob := other.dialQuery("key=other&id=bob&token=b")
		bob.Want(`{"type":"OPEN"}`)
		bob.offer("alice", "{}")
		namesake.Want(`{"type":"OFFER","src":"bob","dst":"alice","payload":{}}`)
		alice.silent(time.Minute)
	})
}

// A request that cannot become a socket gets an HTTP answer.
func TestHandshake(t *testing.T) {
	inBubble(t, peerjs.Config{AllowOrigins: []string{"https://a.example"}}, func(s *server) {
		if status, _, h := s.get("/peerjs?key=peerjs&id=x&token=y"); status != 426 || h.Get("Upgrade") != "websocket" {
			t.Errorf("without an Upgrade: %d", status)
		}
		upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key"}
		if status, _, _ := s.get("/peerjs", append(upgrade, "short")...); status != 400 {
			t.Errorf("with a bad key: %d", status)
		}
		if status, _, _ := s.ask("POST", "/peerjs", append(upgrade, "dGhlIHNhbXBsZSBub25jZQ==")...); status != 405 {
			t.Errorf("POST: %d", status)
		}
		for origin, want := range map[string]int{"https://a.example": 101, "https://b.example": 403, "http://inbox.test": 101, "null": 403} {
			status, _, _ := s.get("/peerjs?key=peerjs&id=x&token=y", append(upgrade, "dGhlIHNhbXBsZSBub25jZQ==", "Origin", origin)...)
			if status != want {
				t.Errorf("from %s: %d, want %d", origin, status, want)
			}
		}
		// Behind a proxy that changes Host.
		for site, want := range map[string]int{"same-origin": 101, "same-site": 403, "cross-site": 403} {
			status, _, _ := s.get("/peerjs?key=peerjs&id=x&token=y", append(upgrade, "dGhlIHNhbXBsZSBub25jZQ==", "Origin", "https://b.example", "Sec-Fetch-Site", site)...)
			if status != want {
				t.Errorf("%s: %d, want %d", site, status, want)
			}
		}
	})
}

// An empty chunked body, as from a gateway, is accepted, and any other body is refused.
func TestHandshakeWithChunkedBody(t *testing.T) {
	inBubble(t, peerjs.Config{}, func(s *server) {
		for body, want := range map[string]int{"0\r\n\r\n": 101, "0;a=b\r\nX: y\r\n\r\n": 101, "1\r\nx\r\n0\r\n\r\n": 400} {
			conn, err := s.next().dial(s.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, "GET /peerjs?key=peerjs&id=x&token=y HTTP/1.1\r\nHost: inbox.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nTransfer-Encoding: chunked\r\n\r\n")
			time.Sleep(300 * time.Millisecond)
			go io.WriteString(conn, body)
			r := bufio.NewReader(conn)
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != want {
				t.Fatalf("%q: %v, %v, want %d", body, resp, err, want)
			}
			if want == 101 {
				got := make([]byte, len(`{"type":"OPEN"}`))
				header, err := ws.ReadHeader(r)
				if err == nil {
					_, err = io.ReadFull(r, got)
				}
				if err != nil || header.Length != int64(len(got)) || string(got) != `{"type":"OPEN"}` {
					t.Errorf("%q: %s, %v", body, got, err)
				}
			}
			conn.Close()
			s.settle()
		}
	})
}

// An invalid frame ends its socket and affects no other.
func TestBadFrames(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{MaxMessage: 1000}, func(s *server) {
		for code, f := range map[int]ws.Frame{
			1003: ws.NewBinaryFrame([]byte("x")),
			1007: ws.NewTextFrame([]byte("\xff")),
			1009: ws.NewTextFrame(make([]byte, 1001)),
			1002: ws.NewFrame(ws.OpContinuation, true, nil),
		} {
			c := s.open("alice")
			c.Write(f)
			c.WantClosed(code)
		}
		s.open("alice")
	})
}

// The server echoes every code that a close frame may carry, and answers any other with
// 1002.
func TestCloseCodes(t *testing.T) {
	overStores(t, inbox.Limits{}, peerjs.Config{}, func(s *server) {
		for _, code := range inboxtest.CloseCodes {
			c := s.untilOpen("alice", "token")
			c.Write(ws.NewCloseFrame(binary.BigEndian.AppendUint16(nil, code.Said)))
			c.WantClosed(code.Heard)
		}
	})
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}
