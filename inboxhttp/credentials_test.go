package inboxhttp_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/memstore"
)

// Section 2: peers.

func basic(credentials string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

// Browsers get no challenge: a browser would prompt its user for a password, remember it
// and add it to requests that other pages cause.
func TestBrowsersAreNotChallenged(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.open("alice")
		for name, header := range map[string]http.Header{
			"a page":                         {"Origin": {"https://example.com"}, "Sec-Fetch-Mode": {"cors"}},
			"its own page":                   {"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}},
			"a future Fetch metadata header": {"Sec-Fetch-Frame-Top": {"x"}},
			"a stream":                       {"Origin": {"https://example.com"}, "Accept": {"text/event-stream"}},
			"a script, over plain HTTP":      {"Accept": {"*/*"}, "Accept-Language": {"en"}, "User-Agent": {"Firefox in disguise"}},
			"with a referrer":                {"Referer": {"http://example.com/"}},
		} {
			for _, r := range []request{
				{}, {id: "alice", password: "another", query: "?wait=0"}, {method: http.MethodDelete}, {method: http.MethodPost, query: "?to=alice"},
				{auth: []string{"Negotiate x"}},
			} {
				r.header = header
				a := s.do(r)
				a.wantProblem("unauthorized")
				if got, challenged := a.header["Www-Authenticate"]; challenged {
					s.Errorf("%s: %s was challenged with %q", name, r.method, got)
				}
			}
		}
		s.do(request{header: http.Header{"Accept": {"*/*"}, "User-Agent": {"curl/8.5.0"}}}).wantHeader("WWW-Authenticate", `Basic realm="inbox", charset="UTF-8"`)
	})
}

// Section 2.2: exactly one Authorization: Basic. A missing or unreadable header is 401
// unauthorized; an invalid id or password, or a second header, is 400 bad-credentials.
func TestCredentials(t *testing.T) {
	anyByte := make([]byte, inbox.MaxPassword)
	for i := range anyByte {
		anyByte[i] = byte(i)
	}
	cases := []struct {
		name string
		auth []string
		want string // a code, or "" if they are valid
	}{
		{"missing", []string{}, "unauthorized"},
		{"empty", []string{""}, "unauthorized"},
		{"another scheme", []string{"Bearer " + base64.StdEncoding.EncodeToString([]byte("a:b"))}, "unauthorized"},
		{"digest", []string{`Digest username="a"`}, "unauthorized"},
		{"a scheme without credentials", []string{"Basic"}, "unauthorized"},
		{"a scheme with Basic as its prefix", []string{"BasicX YTpi"}, "unauthorized"},
		{"not base64", []string{"Basic ????"}, "unauthorized"},
		{"base64 for URLs", []string{"Basic " + base64.URLEncoding.EncodeToString([]byte("a:\xff\xff\xff"))}, "unauthorized"},
		{"base64 without padding", []string{"Basic YTpiYg"}, "unauthorized"},
		{"plain text", []string{"Basic alice:secret"}, "unauthorized"},
		{"no colon", []string{basic("alice")}, "unauthorized"},

		{"twice", []string{basic("a:b"), basic("c:d")}, "bad-credentials"},
		{"twice the same", []string{basic("a:b"), basic("a:b")}, "bad-credentials"},
		{"the second one empty", []string{basic("a:b"), ""}, "bad-credentials"},

		{"no id", []string{basic(":secret")}, "bad-credentials"},
		{"no id and no password", []string{basic(":")}, "bad-credentials"},
		{"an id of 513 bytes", []string{basic(strings.Repeat("a", 513) + ":b")}, "bad-credentials"},
		{"an id of 512 bytes and two-byte letters", []string{basic(strings.Repeat("é", 256) + "a:b")}, "bad-credentials"},
		{"no password", []string{basic("alice:")}, "bad-credentials"},
		{"a password of 257 bytes", []string{basic("alice:" + strings.Repeat("b", 257))}, "bad-credentials"},

		{"the scheme in lower case", []string{strings.Replace(basic("a1:b"), "Basic", "basic", 1)}, ""},
		{"the scheme in upper case", []string{strings.Replace(basic("a2:b"), "Basic", "BASIC", 1)}, ""},
		{"more than one space after the scheme", []string{strings.Replace(basic("a3:b"), " ", "   ", 1)}, ""},
		{"one byte each", []string{basic("a:b")}, ""},
		{"an id of 512 bytes", []string{basic(strings.Repeat("a", 512) + ":b")}, ""},
		{"a password of 256 bytes", []string{basic("a4:" + strings.Repeat("b", 256))}, ""},
		{"a password with colons", []string{basic("a5::b:c::")}, ""},
		{"a password of a colon", []string{basic("a6::")}, ""},
		{"a password of every byte", []string{basic("a7:" + string(anyByte))}, ""},
		{"a password of white space", []string{basic("a8: \t")}, ""},
		{"a password that is not UTF-8", []string{basic("a9:\xff\xfe")}, ""},
		{"an id with white space inside", []string{basic("alice in wonderland:b")}, ""},
		{"an id in Japanese", []string{basic("名前:b")}, ""},
		{"an id of joined emoji", []string{basic("👩‍👩‍👧:b")}, ""},
		{"an id of everything else in ASCII", []string{basic("!\"#$%&'()*+,-./09;<=>?@AZ[\\]^_`az{|}~:b")}, ""},
		{"an id with a byte order mark", []string{basic("\ufeffa:b")}, ""},
	}
	overStores(t, config{}, func(s *server) {
		s.open("bob")
		for _, c := range cases {
			for _, r := range []request{
				{method: http.MethodGet, query: "?wait=0"},
				{method: http.MethodGet, query: "?after=0&wait=0"},
				{method: http.MethodPost, query: "?to=bob", body: strings.NewReader("x")},
				{method: http.MethodDelete},
			} {
				r.auth = c.auth
				a := s.do(r)
				if a.code != c.want || c.want == "" && a.status >= 400 {
					s.Errorf("%s: %s got %d %q, want %q", c.name, r.method, a.status, a.code, c.want)
				}
			}
		}
	})
}

// Section 2.2: the rules for ids.
func TestIDs(t *testing.T) {
	bad := []string{
		"\xff", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\x80b", // not UTF-8
		"\u0080", "a\u0085b", "\u009f", // control characters above ASCII
	}
	for c := range ' ' {
		bad = append(bad, "a"+string(c)+"b", "a"+string(c), string(c)+"b")
	}
	bad = append(bad, "a\x7fb")
	for _, space := range " \u00a0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000" {
		bad = append(bad, string(space), string(space)+"a", "a"+string(space))
	}
	overStores(t, config{}, func(s *server) {
		for _, id := range bad {
			if a := s.do(request{auth: []string{basic(id + ":b")}, query: "?wait=0"}); a.code != "bad-credentials" {
				s.Errorf("the id %q: got %d %q", id, a.status, a.code)
			}
			if a := s.post("alice", id, "x"); a.code != "bad-recipient" {
				s.Errorf("the recipient %q: got %d %q", id, a.status, a.code)
			}
		}
	})
}

// Section 2.2: the first GET or POST of an id creates its inbox with that password.
func TestFirstRequestOpensTheInbox(t *testing.T) {
	for name, first := range map[string]request{
		"pop":            {query: "?wait=0"},
		"acknowledged":   {query: "?after=0&wait=0"},
		"limit 0":        {query: "?limit=0"},
		"send":           {method: http.MethodPost, query: "?to=bob"},
		"send to nobody": {method: http.MethodPost, query: "?to=nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			overStores(t, config{}, func(s *server) {
				s.open("bob")
				if s.alive("alice") {
					s.Fatal("the inbox exists before the first request")
				}
				first.id, first.password = "alice", "one"
				s.do(first)
				if !s.alive("alice") {
					s.Fatal("the inbox does not exist after the first request")
				}
				s.do(request{id: "alice", password: "two", query: "?wait=0"}).wantProblem("unauthorized")
				s.do(request{id: "alice", password: "one", query: "?wait=0"}).wantMessage("prober", "")
			})
		})
	}
}

// Section 2.2: requests with another password are 401 unauthorized and change nothing.
func TestAnotherPassword(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice", "bob")
		waits := s.wait("alice", "?after=0")
		for _, r := range []request{
			{},
			{query: "?wait=0"},
			{query: "?after=0"},
			{query: "?limit=0"},
			{method: http.MethodDelete},
			{method: http.MethodPost, query: "?to=bob"},
			{method: http.MethodPost, query: "?to=alice"},
			{method: http.MethodPost, query: "?to=nobody"},
		} {
			r.id, r.password = "alice", "guessed"
			s.do(r).want(http.StatusUnauthorized)
		}
		s.send("bob", "alice", "still here")
		message := waits.answer().wantMessage("bob", "still here")
		for _, query := range []string{"?wait=0", "?after=" + message.cursor()} {
			s.do(request{id: "alice", password: "guessed", query: query}).want(http.StatusUnauthorized)
		}
		s.poll("bob").want(http.StatusNoContent)
		s.poll("alice").wantMessage("bob", "still here")
	})
}

func TestWrongPasswordDoesNotRestartExpiry(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		s.open("alice")
		for range 59 {
			time.Sleep(time.Second)
			s.do(request{id: "alice", password: "guessed", query: "?wait=0"}).want(http.StatusUnauthorized)
		}
		time.Sleep(time.Second)
		if s.alive("alice") {
			t.Fatal("wrong passwords kept the inbox alive")
		}
	})
}

// Section 2.4: the server checks the password before it looks up the recipient, so that
// a client without an inbox cannot probe for ids.
func TestPasswordBeforeRecipient(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("mallory", "alice")
		there := sending("mallory", "alice", "x")
		absent := sending("mallory", "nobody", "x")
		there.password, absent.password = "guessed", "guessed"
		a, b := s.do(there).wantProblem("unauthorized"), s.do(absent).wantProblem("unauthorized")
		if a.body != b.body {
			s.Fatalf("the answers reveal which ids exist: %s and %s", a.body, b.body)
		}
	})
}

// Section 2.2: a server keeps no password.
func TestNoPasswordIsKept(t *testing.T) {
	const password = "Corr3ct-h0rse-battery"
	var kept *memstore.Store
	inBubble(t, config{open: func(tb testing.TB, l inbox.Limits) inbox.Store {
		kept = memstore.New(l)
		return kept
	}}, func(s *server) {
		s.do(request{id: "alice", password: password, query: "?wait=0"}).want(http.StatusNoContent)
		path := filepath.Join(t.TempDir(), "all")
		if err := kept.Save(path, s.pepper); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), "alice") {
			t.Fatal("the snapshot does not contain the inbox")
		}
		if strings.Contains(string(content), password) {
			t.Fatal("the snapshot contains the password")
		}
	})
}
