package inboxhttp_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

// Of a client that does not read, the server holds a piece of an answer, and not all
// that an inbox may hold: escaped in JSON that is six times as much, and for each of
// the connections over which it is asked for.
func TestAnswersComeInPieces(t *testing.T) {
	const many, size = 16, 60 << 10
	const most = 64<<10 + 6*size + 1<<10 // the last message may begin just below the limit
	for _, tls := range []bool{false, true} {
		for _, query := range []string{"", "?after=0"} {
			for _, accept := range []string{"application/json", "text/event-stream"} {
				s := start(t, config{sockets: true, tls: tls})
				c := s.rawClient()
				ask := func() { c.ask("alice", query, "Accept: "+accept+"\r\n") }
				if accept == "application/json" && !tls {
					for range 2 { // so that the third is the same request over a parked connection
						receivers, parked := s.store.receivers("alice"), s.parked.Load()
						ask()
						s.store.untilReceivers("alice", receivers+1, nil)
						inboxtest.Until(t, "it is parked", func() bool { return s.parked.Load() > parked })
						s.send("bob", "alice", "short")
						c.answer(http.MethodGet).want(http.StatusOK)
						if query != "" {
							s.get("alice", "?limit=0&after="+s.getJSON("alice", "?after=0").cursor())
						}
					}
				}
				s.do(request{method: http.MethodDelete, id: "alice"}).want(http.StatusNoContent)
				s.open("alice")
				for range many {
					s.send("bob", "alice", strings.Repeat("\x00", size))
				}
				ask()
				var whole strings.Builder
				for n := 0; n < many; {
					piece, last := c.chunk()
					if len(piece) > most {
						t.Errorf("%s%s: a piece of %d bytes, more than %d", accept, query, len(piece), most)
					}
					whole.WriteString(piece)
					if n += strings.Count(piece, `"body":"`); last {
						t.Fatalf("%s%s: %d messages, want %d", accept, query, n, many)
					}
				}
				if accept == "application/json" {
					for piece, last := c.chunk(); !last; piece, last = c.chunk() {
						whole.WriteString(piece)
					}
					if !json.Valid([]byte(whole.String())) {
						t.Errorf("%s%s: not JSON", accept, query)
					}
				}
				if query == "" {
					inboxtest.Until(t, "all were popped", func() bool { return s.held("alice") == 0 })
				} else if held := s.held("alice"); held != many {
					t.Errorf("%s%s: %d messages are left, want %d", accept, query, held, many)
				}
			}
		}
	}
}

// chunk reads a chunk (RFC 9112, 7.1), with the header of the answer before it if it
// is the first.
func (c *rawClient) chunk() (content string, last bool) {
	c.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.Fatal(err)
		}
		if strings.HasPrefix(line, "Content-Length:") {
			c.Fatalf("%swhere chunks are wanted", line)
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
