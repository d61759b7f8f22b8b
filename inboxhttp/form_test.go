package inboxhttp_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"inbox"
)

// Section 4.3: the forms of an answer.

// The form of an answer follows Accept.
func TestAccept(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "hello")
		for accept, wantJSON := range map[string]bool{
			"application/json":                            true,
			"APPLICATION/JSON":                            true,
			" application/json ":                          true,
			"application/json; charset=utf-8":             true,
			"text/plain, application/json;q=0.9, */*;q=0": true,
			"text/html;q=0, application/json":             true,
			"application/json;q=0.001":                    true,
			"application/json;q=nonsense":                 true,
			"":                                            false,
			"*/*":                                         false,
			"application/*":                               false,
			"application/octet-stream":                    false,
			"application/problem+json":                    false,
			"application/json;q=0":                        false,
			"application/json; Q=0.000":                   false,
			"application/jsonp":                           false,
			"text/plain;x=application/json":               false,
			",;,;=,":                                      false,
		} {
			a := s.do(request{id: "alice", query: "?after=0", header: http.Header{"Accept": {accept}}}).want(http.StatusOK)
			if gotJSON := a.header.Get("Content-Type") == "application/json"; gotJSON != wantJSON {
				s.Errorf("Accept: %s: JSON is %v, want %v", accept, gotJSON, wantJSON)
			}
		}
		two := http.Header{"Accept": {"text/plain", "application/json"}}
		s.do(request{id: "alice", query: "?after=0", header: two}).wantBodies("hello")
	})
}

// The JSON form has a cursor and messages. A message has body if its bytes are valid
// UTF-8, and body64 otherwise. Its time is in UTC.
func TestJSON(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		bodies := []string{"", "hello", `{"sdp":"a=\r\n"}`, "</script> &amp; \u2028", "名前 👩‍👩‍👧", "\x00\x1f\x7f",
			"\xff", "ok\xc3", "\xed\xa0\x80", "\x1f\x8b\x08"}
		var before, after []time.Time
		for _, body := range bodies {
			time.Sleep(1234567 * time.Nanosecond)
			before = append(before, time.Now().Round(0))
			s.send("bøb", "alice", body)
			after = append(after, time.Now().Round(0)) // the same if the clock is turned
		}
		s.turnClock(5 * time.Second)
		a := s.getJSON("alice", "?after=0").wantBodies(bodies...)
		b := a.batch()
		for i, m := range b.Messages {
			if text := utf8.ValidString(bodies[i]); (m.Body != nil) != text || (m.Body64 != nil) == text {
				s.Errorf("message %d: body is there: %v, body64 is there: %v", i, m.Body != nil, m.Body64 != nil)
			}
			if m.From != "bøb" {
				s.Errorf("message %d is from %q", i, m.From)
			}
			at, err := time.Parse(time.RFC3339Nano, m.Time)
			if err != nil || !strings.HasSuffix(m.Time, "Z") || at.Before(before[i]) || at.After(after[i]) {
				s.Errorf("message %d has the time %s, want %v to %v", i, m.Time, before[i], after[i])
			}
		}
		if last := b.Messages[len(b.Messages)-1].Cursor; b.Cursor != last {
			s.Errorf("the cursor is %s, want that of the last message, %s", b.Cursor, last)
		}
		var plain map[string]json.RawMessage
		if err := json.Unmarshal([]byte(a.body), &plain); err != nil || plain["reset"] != nil || len(plain) != 2 {
			s.Errorf("unexpected members: %s", a.body)
		}
		a.wantHeader("X-From", "")
	})
}

// A raw body is application/octet-stream, whatever type it was sent with.
func TestRawIsOctetStream(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		r := sending("mallory", "alice", "<script>alert(1)</script>")
		r.header = http.Header{"Content-Type": {"text/html"}, "Content-Disposition": {"inline"}, "X-From": {"bob"}}
		s.do(r).want(http.StatusOK)
		s.poll("alice").wantMessage("mallory", "<script>alert(1)</script>").wantHeader("Content-Disposition", "")
	})
}

// X-From encodes what a header cannot carry. decodeURIComponent restores the id, and
// plain ids stay as they are.
func TestXFrom(t *testing.T) {
	wants := map[string]string{
		"bob": "bob", "a%b": "a%25b", "%41": "%2541", "a b": "a%20b", "é": "%C3%A9", "a+b": "a+b", "a,b;c=d": "a,b;c=d",
		"!\"#$&'()*+,-./09;<=>?@AZ[\\]^_`az{|}~": "!\"#$&'()*+,-./09;<=>?@AZ[\\]^_`az{|}~",
		"名前":                                     "%E5%90%8D%E5%89%8D", "a\u202eb": "a%E2%80%AEb", "ｂｏｂ": "%EF%BD%82%EF%BD%8F%EF%BD%82",
	}
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		for id, want := range wants {
			s.send(id, "alice", "x")
			s.poll("alice").wantMessage(want, "x")
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range s.times(300) {
			id := randomID(random)
			s.send(id, "alice", "x")
			got := s.poll("alice").want(http.StatusOK).header.Get("X-From")
			if strings.ContainsFunc(got, func(r rune) bool { return r < '!' || r > '~' }) {
				s.Fatalf("the id %q became %q, which a header cannot carry", id, got)
			}
			if back, err := url.PathUnescape(got); err != nil || back != id { // like decodeURIComponent
				s.Fatalf("the id %q became %q and then %q (%v)", id, got, back, err)
			}
		}
	})
}

// randomID returns a random id that section 2.2 allows.
func randomID(random *rand.Rand) string {
	for {
		runes := make([]rune, 1+random.IntN(12))
		for i := range runes {
			most := []rune{0x7f, 0xff, 0xffff, utf8.MaxRune}[random.IntN(4)]
			runes[i] = random.Int32N(most + 1)
		}
		if id := string(runes); inbox.CheckID(id) == nil {
			return id
		}
	}
}
