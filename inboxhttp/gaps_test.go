package inboxhttp_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

// What is not as the protocol or the threat model has it, each with a test that
// fails: go test -race -tags gaps -run Gap ./inboxhttp

// A client that has read its whole answer, and asks again over another
// connection, gets the same message again.
func TestGapPopsOverAnotherConnection(t *testing.T) {
	const n = 2000
	s := start(t, config{sockets: true})
	s.open("alice")
	twice := 0
	for i := range n {
		s.send("bob", "alice", fmt.Sprint(i))
		for again := range 2 {
			c := s.rawClient() // as curl does
			c.ask("alice", "?wait=0", "")
			if a := c.answer(http.MethodGet); a.status == http.StatusOK {
				a.wantMessage("bob", fmt.Sprint(i))
				twice += again
			}
			c.Close()
		}
		inboxtest.Until(t, "the message has left", func() bool { return s.held("alice") == 0 })
	}
	if twice > 0 {
		t.Errorf("%d of %d messages were received twice, one after the other", twice, n)
	}
}

// Of several Content-Encoding lines, only the first one is looked at.
func TestGapContentEncodingInTwoLines(t *testing.T) {
	for _, encoding := range [][]string{{"identity", "gzip"}, {"", "gzip"}} {
		inBubble(t, config{}, func(s *server) {
			s.open("alice")
			r := sending("bob", "alice", "\x1f\x8b")
			r.header = http.Header{"Content-Encoding": encoding}
			if a := s.do(r); a.code != "encoded-body" {
				t.Errorf("%q: got %d", encoding, a.status)
			}
		})
	}
}

// RFC 9112, 6.3: a message with both a Transfer-Encoding and a Content-Length may
// be a smuggled one; the connection must be closed after it.
func TestGapLengthAndChunks(t *testing.T) {
	s := start(t, config{sockets: true})
	s.open("alice", "bob")
	c := s.rawClient()
	post := plain(http.MethodPost, "?to=alice", "bob", "0\r\n\r\n")
	c.write(strings.Replace(post, "Content-Length", "Transfer-Encoding: chunked\r\nContent-Length", 1))
	c.write(plain(http.MethodDelete, "", "bob", ""))
	r := bufio.NewReader(c.Conn)
	first := s.readAnswer(r, http.MethodPost)
	if resp, err := http.ReadResponse(r, nil); err == nil {
		t.Errorf("after %d, the next request was served with %d", first.status, resp.StatusCode)
	}
}
