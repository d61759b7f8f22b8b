package inboxhttp_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

// HTTP/2 with TLS and, for proxies, without. delivery_test.go covers delivery over both.

var http2Wires = []wire{
	{name: "TLS", config: config{sockets: true, tls: true, http2: true}},
	{name: "prior knowledge", config: config{sockets: true, http2: true}},
	{name: "two servers", redis: true, config: config{sockets: true, tls: true, http2: true}},
}

func TestHTTP2(t *testing.T) {
	overEach(t, http2Wires, config{}, func(s *server) {
		a := s.poll("alice").want(http.StatusNoContent)
		if a.proto != 2 {
			s.Fatalf("the protocol is HTTP/%d", a.proto)
		}
		s.send("bob", "alice", "one", "two", "three")
		s.poll("alice").wantMessage("bob", "one")
		s.get("alice", "").wantMessage("bob", "two")
		last := s.getJSON("alice", "?after=0").wantBodies("three")
		s.get("alice", "?limit=0&after="+last.cursor()).want(http.StatusNoContent)

		waits := s.wait("alice", "")
		s.send("bob", "alice", "four")
		waits.answer().wantMessage("bob", "four")

		older := s.wait("alice", "")
		newer := s.wait("alice", "")
		older.answer().wantProblem("replaced")
		s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
		newer.answer().wantProblem("closed")
	})
}

// Many receivers, each at its own inbox, share one connection. One that fails does not
// affect the others.
func TestHTTP2ManyStreams(t *testing.T) {
	overEach(t, http2Wires, config{}, func(s *server) {
		var all []*pending
		for i := range 30 {
			all = append(all, s.wait(fmt.Sprint("peer-", i), ""))
		}
		for i := 0; i < len(all); i += 3 {
			all[i].leave()
		}
		large := sending("bob", "peer-1", strings.Repeat("x", 200_000))
		s.do(large).wantProblem("too-large")
		for i, p := range all {
			if i%3 == 0 {
				<-p.done
				continue
			}
			s.send("bob", fmt.Sprint("peer-", i), "hello")
			p.answer().wantMessage("bob", "hello")
		}
		inboxtest.Until(s, "all handlers have returned", func() bool { return s.inside.Load() == 0 })
	})
}

// A connection has a limit on concurrent streams, which its settings announce.
func TestHTTP2StreamsAreLimited(t *testing.T) {
	s := start(t, config{sockets: true})
	c := s.rawClient()
	c.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // RFC 9113, 3.4, with no settings
	frame := make([]byte, 9)
	if _, err := io.ReadFull(c.r, frame); err != nil || frame[3] != 4 {
		t.Fatalf("%v: no settings: %x", err, frame)
	}
	settings := make([]byte, binary.BigEndian.Uint32(frame)>>8)
	if _, err := io.ReadFull(c.r, settings); err != nil {
		t.Fatal(err)
	}
	for ; len(settings) >= 6; settings = settings[6:] {
		const maxConcurrentStreams = 3
		if binary.BigEndian.Uint16(settings) == maxConcurrentStreams {
			if n := binary.BigEndian.Uint32(settings[2:]); n != 32 {
				t.Errorf("%d streams, want 32", n)
			}
			return
		}
	}
	t.Error("the settings announce no limit")
}

func TestHTTP2Errors(t *testing.T) {
	overEach(t, http2Wires, config{}, func(s *server) {
		s.open("alice")
		s.do(request{}).wantProblem("unauthorized")
		s.do(request{auth: []string{basic("a:b"), basic("a:b")}}).wantProblem("bad-credentials")
		s.do(request{method: http.MethodHead, id: "alice"}).want(http.StatusMethodNotAllowed)
		s.do(request{id: "alice", body: strings.NewReader("x")}).wantProblem("bad-request")
		s.post("bob", "nobody", "x").wantProblem("no-such-inbox")
		chunked := sending("bob", "alice", "")
		chunked.body = struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 64<<10+1))}
		s.do(chunked).wantProblem("too-large")
		encoded := sending("bob", "alice", "x")
		encoded.header = http.Header{"Content-Encoding": {"gzip"}}
		s.do(encoded).wantProblem("encoded-body")
		s.poll("alice").want(http.StatusNoContent)
		s.drain()
		s.get("alice", "").wantProblem("draining")
	})
}

// An oversized header block is refused, by whatever layer notices it first.
func TestHTTP2HeaderSize(t *testing.T) {
	t.Parallel()
	s := start(t, http2Wires[0].config)
	req, err := http.NewRequest(http.MethodGet, s.url+"/inbox?wait=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Filler", strings.Repeat("x", 32<<10))
	if resp, err := s.client.Do(req); err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("got %d", resp.StatusCode)
		}
	}
	s.poll("alice").want(http.StatusNoContent)
}
