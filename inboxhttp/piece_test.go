package inboxhttp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

// maxPiece is the size of the largest write of an answer, in bytes.
const maxPiece = 16 << 10

// For a client that does not read, the server holds one piece of an encoded answer
// instead of the whole, which can be six times the size of the inbox, on each connection.
func TestAnswersAreWrittenInPieces(t *testing.T) {
	const many, size = 16, 60 << 10
	bodies := map[string]string{"body": strings.Repeat("\x00", size), "body64": strings.Repeat("\xff", size)}
	for _, tls := range []bool{false, true} {
		for _, query := range []string{"", "?after=0"} {
			for _, accept := range []string{"application/json", "text/event-stream"} {
				for field, body := range bodies {
					t.Run(fmt.Sprint(tls, query, accept, field), func(t *testing.T) {
						s := start(t, config{sockets: true, tls: tls})
						c := s.rawClient()
						ask := func() { c.ask("alice", query, "Accept: "+accept+"\r\n") }
						want := many
						if accept == "application/json" {
							want = 1 // two do not fit into one answer
							if !tls {
								s.parkTwice(c, query, ask)
							}
						}
						s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
						s.open("alice")
						for range many {
							s.send("bob", "alice", body)
						}
						ask()
						var whole strings.Builder
						for n := 0; n < want; {
							piece, last := c.chunk()
							if len(piece) > maxPiece {
								t.Errorf("a piece of %d bytes, more than %d", len(piece), maxPiece)
							}
							whole.WriteString(piece)
							if n += strings.Count(piece, `"`+field+`":"`); last {
								t.Fatalf("%d messages, want %d", n, want)
							}
						}
						left := many
						if accept == "application/json" {
							for piece, last := c.chunk(); !last; piece, last = c.chunk() {
								whole.WriteString(piece)
							}
							if !json.Valid([]byte(whole.String())) {
								t.Error("not JSON")
							}
						}
						if query == "" {
							left -= want
						}
						inboxtest.Until(t, "the popped messages have left", func() bool { return s.held("alice") == left })
					})
				}
			}
		}
	}
}

// parkTwice lets two identical polls wait and end, so that the next one repeats them on a
// parked connection.
func (s *server) parkTwice(c *rawClient, query string, ask func()) {
	s.Helper()
	for range 2 {
		receivers, parked := s.store.receivers("alice"), s.parked.Load()
		ask()
		s.store.untilReceivers("alice", receivers+1, nil)
		inboxtest.Until(s, "the connection is parked", func() bool { return s.parked.Load() > parked })
		s.send("bob", "alice", "short")
		c.answer(http.MethodGet).want(http.StatusOK)
		if query != "" {
			s.get("alice", "?limit=0&after="+s.getJSON("alice", "?after=0").cursor())
		}
	}
}

// An answer contains at most 64 KiB of bodies, or one message. Its cursor is that of its
// last message, and the next request gets the rest.
func TestAnswerHasFewLargeMessages(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		large := strings.Repeat("x", 30<<10)
		s.send("bob", "alice", large, large, large+"x", "small", strings.Repeat("y", 64<<10), "last")
		first := s.getJSON("alice", "?after=0").wantBodies(large, large)
		second := s.getJSON("alice", "?after="+first.cursor()).wantBodies(large+"x", "small")
		if n := s.held("alice"); n != 4 {
			s.Errorf("the inbox has %d messages after two of six were acknowledged", n)
		}
		third := s.getJSON("alice", "?after="+second.cursor()).wantBodies(strings.Repeat("y", 64<<10))
		s.getJSON("alice", "?after="+third.cursor()).wantBodies("last")
		s.do(request{id: "alice", query: "?wait=0", header: http.Header{"Accept": {"application/json"}}}).wantBodies("last")
		s.poll("alice").want(http.StatusNoContent)
	})
}

// chunk reads one chunk (RFC 9112, 7.1), preceded by the answer's header if it is the
// first.
func (c *rawClient) chunk() (content string, last bool) {
	c.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.Fatal(err)
		}
		if strings.HasPrefix(line, "Content-Length:") {
			c.Fatalf("got %swant a chunk", line)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			continue // of the header
		}
		buf := make([]byte, size+2)
		if _, err := io.ReadFull(c.r, buf); err != nil {
			c.Fatal(err)
		}
		return string(buf[:size]), size == 0
	}
}
