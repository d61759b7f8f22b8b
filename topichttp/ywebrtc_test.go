package topichttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"

	"inbox/internal/inboxtest"
	"inbox/topichttp"
)

// A publication reaches every subscriber, the publisher included, with all its fields and
// the number of clients.
func TestYWebRTC(t *testing.T) {
	inBubble(t, topichttp.Config{}, func(s *server) {
		a, b, other := s.connect("/yjs"), s.connect("/yjs/any/path?token=x"), s.connect("/yjs")
		a.Say(`{"type":"subscribe","topics":["one","two"]}`)
		b.Say(`{"type":"subscribe","topics":["one"]}`)
		other.Say(`{"type":"subscribe","topics":["three"]}`)
		for _, c := range []*client{a, b, other} {
			c.silent()
		}
		a.Say(`{"type":"publish", "topic":"one", "data" : {"type":"announce","from":"x\u00e9"}, "n":1.50, "extra":[null,true]}`)
		for _, c := range []*client{a, b} {
			c.Want(`{"type":"publish","topic":"one","data":{"type":"announce","from":"xé"},"n":1.5,"extra":[null,true],"clients":2}`)
		}
		other.Say(`{"type":"publish","topic":"one","clients":7,"data":"from outside"}`)
		for _, c := range []*client{a, b} {
			c.Want(`{"type":"publish","topic":"one","data":"from outside","clients":2}`)
		}
		b.Say(`{"type":"unsubscribe","topics":["one","never"]}`)
		b.silent()
		b.Say(`{"type":"publish","topic":"one","data":"it has left"}`)
		a.Want(`{"type":"publish","topic":"one","data":"it has left","clients":1}`)
		b.Say(`{"type":"publish","topic":"two"}`)
		a.Want(`{"type":"publish","topic":"two","clients":1}`)
		for _, c := range []*client{a, b, other} {
			c.silent()
		}
	})
}

// Invalid frames are ignored, as by y-webrtc's own server, and end no connection.
func TestYWebRTCIgnoresNonsense(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for _, frame := range []string{
		"", "x", "null", "1", "[]", `""`, "{}", `{"type":1}`, `{"type":null}`, `{"type":"unknown"}`, `{"type":"subscribe"}`,
		`{"type":"subscribe","topics":null}`, `{"type":"subscribe","topics":"room"}`, `{"type":"subscribe","topics":{}}`,
		`{"type":"subscribe","topics":[1,null,{},[],["room"],""]}`, `{"type":"unsubscribe"}`, `{"type":"unsubscribe","topics":[1,"x"]}`,
		`{"type":"publish"}`, `{"type":"publish","topic":1}`, `{"type":"publish","topic":""}`, `{"type":"publish","topic":null}`,
		`{"type":"publish","topic":["room"]}`, `{"type":"publish","topic":"nobody"}`, `{"type":"publish","topic":"room"`,
		`{"type":"publish","topic":"room","data":` + deep + `}`, `{"topics":["room"]}`, `{"type":"ping"`, "\u0000",
		`{"type":"publish","topic":"` + strings.Repeat("x", 5000) + `"}`, `{"type":"subscribe","topics":["` + strings.Repeat("x", 5000) + `"]}`,
		`{"__proto__":{"type":"ping"}}`,
	} {
		inBubble(t, topichttp.Config{}, func(s *server) {
			a, b := s.connect("/yjs"), s.connect("/yjs")
			a.Say(`{"type":"subscribe","topics":["room"]}`)
			a.silent()
			b.Say(frame)
			b.silent()
			a.silent()
			b.Say(`{"type":"publish","topic":"room","data":1}`)
			a.Want(`{"type":"publish","topic":"room","data":1,"clients":1}`)
		})
	}
}

// A violation of the WebSocket protocol ends only the client's own connection.
func TestViolationsEndOnlyTheirOwnConnection(t *testing.T) {
	for name, c := range map[string]struct {
		frame ws.Frame
		code  int
	}{
		"binary":                    {ws.NewBinaryFrame([]byte(`{"type":"ping"}`)), 1003},
		"not UTF-8":                 {ws.NewTextFrame([]byte("{\xff}")), 1007},
		"too large":                 {ws.NewTextFrame(make([]byte, 1<<20)), 1009},
		"reserved bits":             {ws.Frame{Header: ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpText}}, 1002},
		"a continuation of nothing": {ws.Frame{Header: ws.Header{Fin: true, OpCode: ws.OpContinuation}}, 1002},
		"a close frame":             {ws.NewCloseFrame(ws.NewCloseFrameBody(4321, "bye")), 4321},
	} {
		for _, path := range []string{"/yjs", "/trystero", "/announce"} {
			t.Run(name+path, func(t *testing.T) {
				inBubble(t, topichttp.Config{}, func(s *server) {
					a, b := s.connect("/yjs"), s.connect(path)
					a.Say(`{"type":"subscribe","topics":["room"]}`)
					go b.Write(c.frame)
					b.WantClosed(c.code)
					a.silent()
				})
			})
		}
	}
}

// Any request without a WebSocket gets the same answer as from y-webrtc's server.
func TestYWebRTCOverHTTP(t *testing.T) {
	inBubble(t, topichttp.Config{AllowOrigins: []string{"https://app.example"}}, func(s *server) {
		for _, path := range []string{"/yjs", "/yjs/", "/yjs/a/b?c"} {
			for _, method := range []string{"GET", "POST", "PUT"} {
				status, text, h := s.get(method, path)
				if status != http.StatusOK || text != "okay" || h.Get("Content-Type") != "text/plain" || h.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s: %d %q %v", method, path, status, text, h)
				}
			}
		}
		if status, _, h := s.get("GET", "/yjs", "Origin", "https://app.example"); status != 200 || h.Get("Access-Control-Allow-Origin") != "https://app.example" {
			t.Errorf("an allowed page: %d %v", status, h)
		}
		for _, path := range []string{"/yjs", "/trystero"} {
			if status, _, _ := s.get("GET", path, "Origin", "https://evil.example"); status != http.StatusForbidden {
				t.Errorf("another page at %s: %d", path, status)
			}
		}
		if status, _, h := s.get("GET", "/trystero"); status != http.StatusUpgradeRequired || h.Get("Upgrade") != "websocket" {
			t.Errorf("GET /trystero: %d %v", status, h)
		}
		for _, path := range []string{"/yjs", "/trystero"} {
			status, _, _ := s.get("GET", path, "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
			if status != http.StatusBadRequest {
				t.Errorf("a WebSocket whose Upgrade was lost at %s: %d", path, status)
			}
		}
	})
}

// The topics of the two protocols are separate.
func TestProtocolsAreSeparate(t *testing.T) {
	inBubble(t, topichttp.Config{}, func(s *server) {
		y, trystero := s.connect("/yjs"), s.connect("/trystero")
		y.Say(`{"type":"subscribe","topics":["room","trystero:room"]}`)
		trystero.Say(`{"type":"subscribe","topic":"room"}`)
		synctest.Wait()
		trystero.Say(`{"type":"publish","topic":"room","payload":"p"}`)
		trystero.Want(`{"topic":"room","payload":"p"}`)
		y.silent()
		y.Say(`{"type":"publish","topic":"room"}`)
		y.Want(`{"type":"publish","topic":"room","clients":1}`)
		if len(trystero.Frames) > 0 {
			t.Errorf("a client of Trystero got %q", trystero.Hear())
		}
	})
}

// Twenty clients at two servers receive each other's publications.
func TestYWebRTCOverTwoServers(t *testing.T) {
	t.Parallel()
	both := twoServers(t, topichttp.Config{})
	var clients []*client
	for i := range 20 {
		c := both[i%2].connect("/yjs")
		c.Say(`{"type":"subscribe","topics":["room"]}`)
		c.silent()
		clients = append(clients, c)
	}
	inboxtest.Until(t, "the first server reaches the second", func() bool {
		clients[0].Say(`{"type":"publish","topic":"room"}`)
		return len(clients[1].Frames) > 0
	})
	clients[0].Say(`{"type":"publish","topic":"room","data":"start"}`)
	for _, c := range clients {
		for !strings.Contains(c.Hear(), "start") {
		}
	}
	for i := range 100 {
		clients[i%2].Say(fmt.Sprintf(`{"type":"publish","topic":"room","data":%d}`, i))
		for _, c := range clients {
			c.Want(fmt.Sprintf(`{"type":"publish","topic":"room","data":%d,"clients":10}`, i))
		}
	}
}
