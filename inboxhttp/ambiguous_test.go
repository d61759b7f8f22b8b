package inboxhttp_test

import (
	"net/http"
	"strings"
	"testing"
)

// Every Content-Encoding line counts, not only the first.
func TestEncodingInAnyLineIsRefused(t *testing.T) {
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

// A message with an ambiguous length may be part of request smuggling. The server must
// close the connection after it (RFC 9112, 6.1 and 6.3).
func TestAmbiguousLengthEndsTheConnection(t *testing.T) {
	s := start(t, config{sockets: true})
	s.open("alice", "bob")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodOptions} {
		both := strings.Replace(plain(method, "?to=alice&limit=0", "bob", ""), "Host: x", "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", 1)
		both = strings.Replace(both, "Content-Length: 0\r\n", "", 1) + "0\r\n\r\n"
		old := strings.Replace(plain(method, "?to=alice&limit=0", "bob", ""), "HTTP/1.1", "HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked", 1)
		for name, request := range map[string]string{"both": both, "chunked over HTTP/1.0": old} {
			c := s.rawClient()
			c.write(request + plain(http.MethodDelete, "", "bob", ""))
			first := c.answer(method)
			if resp, err := http.ReadResponse(c.r, nil); err == nil {
				t.Errorf("%s, %s: after %d, the next request was served with %d", method, name, first.status, resp.StatusCode)
			}
		}
	}
}

// A chunked body over HTTP/1.0, which net/http does not read, must not pass for an empty
// body.
func TestChunkedHTTP10IsRefused(t *testing.T) {
	s := start(t, config{sockets: true})
	s.open("alice")
	for length, want := range map[string]int{"": http.StatusBadRequest, "Content-Length: 0\r\n": http.StatusOK} {
		c := s.rawClient()
		request := strings.Replace(plain(http.MethodPost, "?to=alice", "bob", ""), "HTTP/1.1", "HTTP/1.0", 1)
		c.write(strings.Replace(request, "Content-Length: 0\r\n", length, 1))
		if a := c.answer(http.MethodPost); a.status != want {
			t.Errorf("%q: %d, want %d", length, a.status, want)
		}
	}
	if held := s.held("alice"); held != 1 {
		t.Errorf("%d messages, want only the empty one", held)
	}
}
