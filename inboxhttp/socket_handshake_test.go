package inboxhttp_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Section 6 and RFC 6455, 4.2: the handshake.

var socketHandshakes = []struct {
	name   string
	shake  handshake
	status int // 101, or the status of the refusal
	code   string
}{
	{"plain", handshake{}, 101, ""},
	{"Basic", handshake{id: "alice"}, 101, ""},
	{"a position", handshake{id: "alice", query: "?after=0"}, 101, ""},
	{"other parameters", handshake{id: "alice", query: "?wait=x&limit=-1"}, 101, ""},
	{"keep-alive too", handshake{header: http.Header{"Connection": {"keep-alive, Upgrade"}}}, 101, ""},
	{"two lines", handshake{header: http.Header{"Connection": {"keep-alive", "upgrade"}}}, 101, ""},
	{"in another case", handshake{header: http.Header{"Upgrade": {"WebSocket"}}}, 101, ""},
	{"one of several", handshake{header: http.Header{"Upgrade": {"h2c, websocket"}}}, 101, ""},
	{"in the second line", handshake{header: http.Header{"Upgrade": {"h2c", "websocket"}}}, 101, ""},
	{"several protocols", handshake{header: http.Header{"Sec-WebSocket-Protocol": {"chat, inbox.v1 , x"}}}, 101, ""},
	{"protocols in several lines", handshake{header: http.Header{"Sec-WebSocket-Protocol": {"chat", "inbox.v1"}}}, 101, ""},
	{"extensions are ignored", handshake{header: http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate; client_max_window_bits"}}}, 101, ""},
	{"a page", handshake{header: http.Header{"Origin": {"https://example.com"}, "Sec-Fetch-Mode": {"websocket"}}}, 101, ""},
	{"Accept changes nothing", handshake{id: "alice", header: http.Header{"Accept": {"text/event-stream"}}}, 101, ""},

	{"no protocol", handshake{header: http.Header{"Sec-WebSocket-Protocol": nil}}, 400, "bad-request"},
	{"another protocol", handshake{header: http.Header{"Sec-WebSocket-Protocol": {"inbox.v2"}}}, 400, "bad-request"},
	{"a protocol in another case", handshake{header: http.Header{"Sec-WebSocket-Protocol": {"INBOX.V1"}}}, 400, "bad-request"},
	{"part of the protocol's name", handshake{header: http.Header{"Sec-WebSocket-Protocol": {"inbox"}}}, 400, "bad-request"},
	{"no key", handshake{header: http.Header{"Sec-WebSocket-Key": nil}}, 400, "bad-request"},
	{"a short key", handshake{header: http.Header{"Sec-WebSocket-Key": {"dGhl"}}}, 400, "bad-request"},
	{"no version", handshake{header: http.Header{"Sec-WebSocket-Version": nil}}, 426, "bad-request"},
	{"an old version", handshake{header: http.Header{"Sec-WebSocket-Version": {"8"}}}, 426, "bad-request"},
	{"no Upgrade, as behind some proxies", handshake{header: http.Header{"Upgrade": nil, "Connection": nil}}, 400, "bad-request"},
	{"another Upgrade", handshake{header: http.Header{"Upgrade": {"websocket/13"}}}, 400, "bad-request"},
	{"no Connection", handshake{header: http.Header{"Connection": nil}}, 400, "bad-request"},
	{"another Connection", handshake{header: http.Header{"Connection": {"keep-alive"}}}, 400, "bad-request"},
	{"HTTP/1.0", handshake{proto: "HTTP/1.0"}, 400, "bad-request"},
	{"a body", handshake{header: http.Header{"Content-Length": {"1"}}, early: []byte("x")}, 400, "bad-request"},

	{"bad Basic", handshake{header: http.Header{"Authorization": {"Basic ?"}}}, 401, "unauthorized"},
	{"another scheme", handshake{header: http.Header{"Authorization": {"Bearer x"}}}, 401, "unauthorized"},
	{"bad credentials", handshake{header: http.Header{"Authorization": {basic(":x")}}}, 400, "bad-credentials"},
	{"two credentials", handshake{header: http.Header{"Authorization": {basic("alice:x"), basic("alice:x")}}}, 400, "bad-credentials"},
	{"another password", handshake{header: http.Header{"Authorization": {basic("owned:guessed")}}}, 401, "unauthorized"},
	{"a bad cursor", handshake{id: "alice", query: "?after=x"}, 400, "bad-cursor"},
	{"an empty cursor", handshake{id: "alice", query: "?after="}, 400, "bad-cursor"},
	{"two cursors", handshake{id: "alice", query: "?after=0&after=0"}, 400, "bad-request"},
	{"a bad query", handshake{id: "alice", query: "?after=%zz"}, 400, "bad-request"},
	{"navigation", handshake{header: http.Header{"Sec-Fetch-Mode": {"navigate"}}}, 403, "forbidden-navigation"},
	{"POST", handshake{method: "POST", header: http.Header{"Content-Length": {"0"}}}, 401, "unauthorized"},
	{"PATCH", handshake{method: "PATCH", header: http.Header{"Content-Length": {"0"}}}, 405, "method-not-allowed"},
}

func TestSocketHandshakes(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		s.open("owned")
		for _, c := range socketHandshakes {
			w, a := s.shake(c.shake)
			switch {
			case w != nil && c.status == 101:
				if c.shake.id == "" {
					w.say(`{"type":"open","id":"bob","password":%q}`, passwordOf("bob"))
				}
				w.wantOpened(false)
				w.conn.Close()
			case w != nil:
				s.Errorf("%s: accepted, want %d", c.name, c.status)
				w.conn.Close()
			case a.status != c.status || a.code != c.code:
				s.Errorf("%s: %d %s, want %d %s", c.name, a.status, a.body, c.status, c.code)
			case a.status == 426: // RFC 9110, 15.5.22; RFC 6455, 4.4
				a.wantHeader("Sec-WebSocket-Version", "13").wantHeader("Upgrade", "websocket")
				fallthrough
			default:
				if got := a.header.Get("Content-Type"); got != "application/problem+json" {
					s.Errorf("%s: %s: %s", c.name, got, a.body)
				}
			}
		}
	})
}

// A refused handshake neither replaces a receiver nor acknowledges messages.
func TestRefusedHandshakesHaveNoEffect(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		waits := s.wait("alice", "?after=0")
		for _, c := range socketHandshakes {
			if c.status != 101 && len(c.shake.header["Authorization"]) == 0 && c.shake.header.Get("Content-Length") == "" {
				c.shake.id = "alice"
				if w, a := s.shake(c.shake); w != nil || a.status != c.status {
					s.Errorf("%s: %d, want %d", c.name, a.status, c.status)
				}
			}
		}
		s.send("bob", "alice", "hello")
		waits.answer().wantMessage("bob", "hello")

		s.open("carol")
		s.send("bob", "carol", "one")
		one := s.get("carol", "?after=0").cursor()
		s.shake(handshake{id: "carol", query: "?after=" + one, header: http.Header{"Sec-WebSocket-Version": {"12"}}})
		if held := s.held("carol"); held != 1 {
			s.Errorf("%d messages are left, want 1", held)
		}
	})
}

// Credentials in a handshake with an Origin do not count: a browser may have added them.
func TestSocketHandshakeOfAPage(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		for _, credentials := range []string{"alice:" + passwordOf("alice"), "alice:guessed", ":"} {
			w := s.dialSocket(handshake{header: http.Header{
				"Origin": {"https://example.com"}, "Authorization": {basic(credentials)}}})
			w.say(`{"type":"open","id":"bob","password":%q}`, passwordOf("bob"))
			w.wantOpened(false)
			w.usable("bob")
			w.conn.Close()
		}
	})
}

// If a program sends both Authorization and Origin and no open frame, the close reason
// explains why.
func TestSocketReasonNamesIgnoredCredentials(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		const why = "the server ignores Authorization when Origin is present"
		type knock struct {
			origin string
			id     string
			says   string
			code   int
			reason bool
		}
		knocks := map[string]knock{
			"both, then silence":           {"https://example.com", "alice", "", 4408, true},
			"both, then a send":            {"https://example.com", "alice", `{"type":"send","to":"alice","body":"x"}`, 4400, true},
			"an origin, then silence":      {"https://example.com", "", "", 4408, false},
			"an origin, then a send":       {"https://example.com", "", `{"type":"send","to":"alice","body":"x"}`, 4400, false},
			"neither, then silence":        {"", "", "", 4408, false},
			"an opaque origin and a guess": {"null", "somebody", "", 4408, true},
		}
		sockets := make(map[string]*webSocket)
		for name, c := range knocks { // all time out together
			h := handshake{id: c.id, header: http.Header{}}
			if c.origin != "" {
				h.header.Set("Origin", c.origin)
			}
			sockets[name] = s.dialSocket(h)
			if c.says != "" {
				sockets[name].say("%s", c.says)
			}
		}
		for name, c := range knocks {
			w := sockets[name]
			f, ok := w.next()
			if !ok || closeCode(f) != c.code {
				s.Errorf("%s: %v, want %d", name, f, c.code)
				continue
			}
			if reason := string(f.payload[2:]); strings.Contains(reason, why) != c.reason || len(reason) > 123 {
				s.Errorf("%s: the reason is %q", name, reason)
			}
			w.conn.Close()
		}
	})
}

func TestSocketOrigins(t *testing.T) {
	overStores(t, config{Config: origins("https://example.com")}, func(s *server) {
		for origin, status := range map[string]int{
			"https://example.com":     101,
			"http://inbox.test":       101, // the server's own pages
			"https://evil.example":    403,
			"http://example.com":      403,
			"https://sub.example.com": 403,
			"null":                    403,
		} {
			w, a := s.shake(handshake{header: http.Header{"Origin": {origin}}})
			if w != nil {
				w.conn.Close()
				a.status = 101
			}
			if a.status != status || status == 403 && a.code != "forbidden-origin" {
				s.Errorf("%s: %d %s, want %d", origin, a.status, a.code, status)
			}
		}
	})
}

// Frames may follow the handshake in the same packet, whole or in part.
func TestSocketEarlyFrames(t *testing.T) {
	overEach(t, socketWires, config{}, func(s *server) {
		open := string(text(fmt.Sprintf(`{"type":"open","id":"alice","password":%q}`, passwordOf("alice"))))
		var many strings.Builder
		for i := range 200 {
			many.Write(text(sendText("alice", fmt.Sprint(i), fmt.Sprint(i))))
		}
		big := string(text(sendText("alice", strings.Repeat("x", 30<<10), "big")))
		for name, c := range map[string]struct {
			id    string
			early string
			later string
			keys  []string
		}{
			"open":                    {early: open},
			"half of open":            {early: open[:20], later: open[20:]},
			"a byte of open":          {early: open[:1], later: open[1:]},
			"open and a send":         {early: open + string(text(sendText("alice", "x", "k"))), keys: []string{"k"}},
			"a send":                  {id: "alice", early: string(text(sendText("alice", "x", "k"))), keys: []string{"k"}},
			"half of a send":          {id: "alice", early: string(text(sendText("alice", "x", "k")))[:9], later: string(text(sendText("alice", "x", "k")))[9:], keys: []string{"k"}},
			"one larger than buffers": {id: "alice", early: big, keys: []string{"big"}},
			"many":                    {id: "alice", early: many.String(), keys: numbers(200)},
		} {
			id := "alice"
			s.do(request{method: http.MethodDelete, id: id})
			w := s.dialSocket(handshake{id: c.id, early: []byte(c.early)})
			if c.later != "" {
				w.write([]byte(c.later))
			}
			if m := w.hear(); m.Type != "opened" {
				s.Errorf("%s: %+v arrived before opened", name, m)
				w.conn.Close()
				continue
			}
			s.wantSentAll(w, c.keys)
			w.conn.Close()
		}
	})
}

func numbers(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprint(i))
	}
	return keys
}

// wantSentAll waits for the answers to these sends, in order, and skips other frames. An
// answer may be inbox-full.
func (s *server) wantSentAll(w *webSocket, keys []string) {
	s.Helper()
	for _, key := range keys {
		m := w.hear()
		for m.Type == "message" || m.Type == "opened" {
			m = w.hear()
		}
		if m.Key != key || m.Type != "sent" && m.Code != "inbox-full" {
			s.Fatalf("got %+v, want the answer to %s", m, key)
		}
	}
}

// A connection that has served requests can become a socket, even after it was parked and
// even if everything arrives at once.
func TestSocketHandshakeOnAUsedConnection(t *testing.T) {
	overEach(t, socketWires, config{Config: maxWait(400 * time.Millisecond)}, func(s *server) {
		for _, pipelined := range []bool{false, true} {
			conn := s.raw()
			r := bufio.NewReader(conn)
			ask := func(query string) {
				fmt.Fprintf(conn, "GET /inbox%s HTTP/1.1\r\nHost: inbox.test\r\nAuthorization: %s\r\n\r\n", query, basic("alice:"+passwordOf("alice")))
			}
			for _, query := range []string{"?wait=0", "?wait=1", "?limit=0"} {
				go ask(query)
				s.readAnswer(r, http.MethodGet).want(http.StatusNoContent)
			}
			if pipelined { // the poll, the handshake and a frame
				go func() {
					ask("?wait=1")
					io.WriteString(conn, rawHandshake("bob"))
					conn.Write(text(sendText("bob", "x", "k")))
				}()
				s.readAnswer(r, http.MethodGet).want(http.StatusNoContent)
				resp, err := http.ReadResponse(r, nil)
				if err != nil || resp.StatusCode != 101 {
					s.Fatalf("%v, %v", resp, err)
				}
				w := &webSocket{TB: s.TB, s: s, conn: conn, frames: make(chan wireFrame, 100)}
				go w.readFrames(r)
				s.wantSentAll(w, []string{"k"})
				conn.Close()
				continue
			}
			w := s.dialSocket(handshake{id: "bob", conn: conn})
			w.wantOpened(false)
			w.usable("bob")
			conn.Close()
		}
	})
}

func rawHandshake(id string) string {
	credentials := ""
	if id != "" {
		credentials = "\r\nAuthorization: " + basic(id+":"+passwordOf(id))
	}
	return "GET /inbox HTTP/1.1\r\nHost: inbox.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.StdEncoding.EncodeToString(make([]byte, 16)) +
		"\r\nSec-WebSocket-Protocol: inbox.v1" + credentials + "\r\n\r\n"
}

// HTTP/2 has no such handshake: the server does not support RFC 8441.
func TestSocketHandshakeOverHTTP2(t *testing.T) {
	inBubble(t, config{http2: true}, func(s *server) {
		_, err := s.try(s.Context(), request{id: "alice", header: http.Header{"Upgrade": {"websocket"}}})
		if err == nil {
			s.Log("the client dropped the header")
		}
		s.poll("alice").want(http.StatusNoContent)
	})
}
