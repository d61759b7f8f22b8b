package inboxhttp_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"inbox"
)

// Section 3: sending. keys_test.go covers keys and limits_test.go the size of a body.

// A send that is answered with 200 and an empty body is in the recipient's inbox.
func TestSend(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.post("bob", "alice", "hello").want(http.StatusOK, "").
			wantHeader("Content-Length", "0").
			wantHeader("Idempotency-Replayed", "").
			wantHeader("Inbox-Cursor", "")
		s.poll("alice").wantMessage("bob", "hello")
		s.poll("alice").want(http.StatusNoContent)
	})
}

// A sender without an inbox gets one, even if the recipient has none.
func TestSenderGetsAnInbox(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "hello")
		s.send("alice", "bob", "and hello to you")
		s.poll("bob").wantMessage("alice", "and hello to you")

		s.post("carol", "nobody", "hello").wantProblem("no-such-inbox")
		s.send("alice", "carol", "hello")
		s.poll("carol").wantMessage("alice", "hello")
	})
}

func TestSendToOneself(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.send("alice", "alice", "do not forget")
		s.poll("alice").wantMessage("alice", "do not forget")
	})
}

// Sending does not restart the expiry of the sender's or the recipient's inbox.
func TestSendDoesNotRestartExpiry(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.open("alice", "bob")
		for range 59 {
			time.Sleep(time.Second)
			s.send("bob", "alice", "")
		}
		time.Sleep(time.Second)
		if s.alive("alice") {
			t.Error("receiving messages kept the recipient's inbox alive")
		}
		if s.alive("bob") {
			t.Error("sending kept the sender's inbox alive")
		}
	})
}

// The recipient comes from the query alone and exactly once.
func TestRecipient(t *testing.T) {
	cases := map[string]string{ // query to code, or "" for alice
		"?to=alice":                       "",
		"?to=%61lice":                     "",
		"?to=alice&tone=high":             "",
		"?x=1&to=alice&TO=bob":            "",
		"?to=alice&":                      "",
		"":                                "bad-recipient",
		"?":                               "bad-recipient",
		"?to":                             "bad-recipient",
		"?to=":                            "bad-recipient",
		"?TO=alice":                       "bad-recipient",
		"?to[]=alice":                     "bad-recipient",
		"?to=alice&to=bob":                "bad-recipient",
		"?to=alice&to=alice":              "bad-recipient",
		"?to=alice&to=":                   "bad-recipient",
		"?to=alice&%74o=bob":              "bad-recipient",
		"?to=%20alice":                    "bad-recipient",
		"?to=alice+":                      "bad-recipient",
		"?to=al%00ice":                    "bad-recipient",
		"?to=alice%0d%0a":                 "bad-recipient",
		"?to=%ff":                         "bad-recipient",
		"?to=al:ice":                      "bad-recipient",
		"?to=al%3Aice":                    "bad-recipient",
		"?to=%zz":                         "bad-request",
		"?to=alice%":                      "bad-request",
		"?to=alice;x=1":                   "bad-request",
		"?to=nobody":                      "no-such-inbox",
		"?to=Alice":                       "no-such-inbox",
		"?to=ali%C2%ADce":                 "no-such-inbox", // a soft hyphen is a letter like any other
		"?to=alice%00&to=alice":           "bad-recipient",
		"?to=" + strings.Repeat("a", 512): "no-such-inbox",
		"?to=" + strings.Repeat("a", 513): "bad-recipient",
		"?to=" + url.QueryEscape(strings.Repeat("é", 256)):     "no-such-inbox",
		"?to=" + url.QueryEscape("é"+strings.Repeat("a", 511)): "bad-recipient",
	}
	overStores(t, config{}, func(s *server) {
		s.open("alice", "bob")
		for query, want := range cases {
			a := s.do(request{method: http.MethodPost, id: "carol", query: query, body: strings.NewReader("to=bob")})
			if a.code != want || want == "" && a.status != http.StatusOK {
				s.Errorf("%s: got %d %q, want %q", query, a.status, a.code, want)
			}
			got := s.poll("alice")
			if delivered := got.status == http.StatusOK; delivered != (want == "") {
				s.Errorf("%s: delivered to alice: %v", query, delivered)
			}
			s.poll("bob").want(http.StatusNoContent)
		}
	})
}

// The body is taken as it is, whatever its Content-Type. A form (curl -d) is an ordinary
// message.
func TestBodyIsOpaque(t *testing.T) {
	const form = "to=bob&after=0&x=%41+%42"
	everyByte := make([]byte, 256)
	for i := range everyByte {
		everyByte[i] = byte(i)
	}
	overStores(t, config{}, func(s *server) {
		s.open("alice", "bob")
		for name, c := range map[string]struct {
			header http.Header
			body   string
		}{
			"no type":          {http.Header{"Content-Type": nil}, "x"},
			"form":             {http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form},
			"multipart":        {http.Header{"Content-Type": {"multipart/form-data; boundary=b"}}, "--b\r\n\r\nto=bob\r\n--b--"},
			"broken multipart": {http.Header{"Content-Type": {"multipart/form-data"}}, "to=bob"},
			"JSON":             {http.Header{"Content-Type": {"application/json"}}, `{"to":"bob"}`},
			"HTML":             {http.Header{"Content-Type": {"text/html"}}, "<script>alert(1)</script>"},
			"UTF-16":           {http.Header{"Content-Type": {"text/plain; charset=utf-16"}}, "\xff\xfeh\x00"},
			"two types":        {http.Header{"Content-Type": {"text/html", "text/plain"}}, "x"},
			"a malformed type": {http.Header{"Content-Type": {"///;;;"}}, "x"},
			"every byte":       {nil, string(everyByte)},
			"line ends":        {nil, "a\r\n\r\nb\n\x00"},
			"identity":         {http.Header{"Content-Encoding": {"identity"}}, "x"},
			"empty":            {nil, ""},
		} {
			r := sending("carol", "alice", c.body)
			r.header = c.header
			if a := s.do(r); a.status != http.StatusOK {
				s.Errorf("%s: got %d %s", name, a.status, a.body)
				continue
			}
			s.poll("alice").wantMessage("carol", c.body)
		}
		s.poll("bob").want(http.StatusNoContent)
	})
}

// An empty message is a message.
func TestEmptyBodies(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		for name, body := range map[string]io.Reader{
			"none":     nil,
			"declared": strings.NewReader(""),
			"chunked":  struct{ io.Reader }{strings.NewReader("")},
		} {
			s.Log(name)
			r := sending("bob", "alice", "")
			r.body = body
			s.do(r).want(http.StatusOK)
			s.poll("alice").wantMessage("bob", "")
			s.poll("alice").want(http.StatusNoContent)
		}
	})
}

// A body with a Content-Encoding is 415 encoded-body.
func TestEncodedBodiesAreRefused(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		for _, encoding := range [][]string{
			{"gzip"}, {"br"}, {"deflate"}, {"zstd"}, {"GZIP"}, {"x"}, {"gzip, identity"}, {"identity, gzip"},
			{"aes128gcm"}, {"gzip", "identity"},
		} {
			r := sending("bob", "alice", "\x1f\x8b")
			r.header = http.Header{"Content-Encoding": encoding}
			s.do(r).wantProblem("encoded-body")
		}
		s.poll("alice").want(http.StatusNoContent)
	})
}

// A message keeps its bytes, whatever the size of the pieces it arrives in.
func TestBodiesInParts(t *testing.T) {
	sizes := []int{1, 511, 512, 513, 4095, 4096, 4097, 8192, 8193, 33333, 64 << 10}
	overStores(t, config{limits: inbox.Limits{Bytes: 2 << 20}}, func(s *server) {
		s.open("alice")
		for _, size := range sizes {
			body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
			for name, r := range map[string]io.Reader{
				"declared":         strings.NewReader(body),
				"chunked":          struct{ io.Reader }{strings.NewReader(body)},
				"small chunks":     &inPieces{body, 1000},
				"chunks of a page": &inPieces{body, 4096},
			} {
				send := sending("bob", "alice", "")
				send.body = r
				if a := s.do(send); a.status != http.StatusOK {
					s.Fatalf("%d bytes, %s: %d %s", size, name, a.status, a.body)
				}
				s.poll("alice").wantMessage("bob", body)
			}
		}
	})
}

// inPieces is a reader that returns a few bytes at a time.
type inPieces struct {
	rest string
	size int
}

func (p *inPieces) Read(b []byte) (int, error) {
	if p.rest == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
