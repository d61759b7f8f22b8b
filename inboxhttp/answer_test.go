package inboxhttp_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"inbox/internal/browser"
)

// answer is a complete answer. try has already passed it to check.
type answer struct {
	testing.TB
	status int
	proto  int
	header http.Header
	body   string
	code   string // of the problem, if it is one
}

func read(tb testing.TB, resp *http.Response) (answer, error) {
	body, err := io.ReadAll(resp.Body)
	return answer{TB: tb, status: resp.StatusCode, proto: resp.ProtoMajor, header: resp.Header,
		body: string(body), code: codeOf(body)}, err
}

func codeOf(body []byte) string {
	var p struct{ Code string }
	_ = json.Unmarshal(body, &p)
	return p.Code
}

// statuses maps the codes in the table of section 7 to their statuses.
var statuses = map[string]int{
	"bad-request": 400, "bad-credentials": 400, "bad-recipient": 400, "bad-cursor": 400, "bad-key": 400,
	"unauthorized":     401,
	"forbidden-origin": 403, "forbidden-navigation": 403,
	"no-such-inbox": 404, "no-such-code": 404,
	"method-not-allowed": 405,
	"too-slow":           408,
	"replaced":           409, "closed": 409, "room-full": 409, "too-many-rooms": 409,
	"too-large":    413,
	"encoded-body": 415,
	"rate-limited": 429,
	"inbox-full":   503, "server-full": 503, "store-unavailable": 503, "draining": 503,
}

// always has the headers that section 8 requires of every answer.
var always = map[string]string{
	"Cache-Control":           "no-store",
	"X-Content-Type-Options":  "nosniff",
	"Content-Security-Policy": "default-src 'none'; sandbox",
}

// check verifies what sections 7 and 8 require of every answer. It never stops the test,
// so it can run in any goroutine.
func (s *server) check(r request, a answer) {
	s.Helper()
	for name, want := range always {
		if got := a.header.Values(name); !slices.Equal(got, []string{want}) {
			s.Errorf("%s %s: %d with %s: %q, want %q", r.method, r.query, a.status, name, got, want)
		}
	}
	switch {
	case a.status == http.StatusForbidden && r.method == http.MethodOptions:
		// a refused preflight has no problem in its body
	case a.status >= 400:
		checkProblem(s, a, r)
	case a.status == http.StatusOK, a.status == http.StatusNoContent:
	default:
		s.Errorf("status %d is not in the protocol", a.status)
	}
	if a.status == http.StatusNoContent && a.body != "" {
		s.Errorf("204 with a body")
	}
}

func checkProblem(tb testing.TB, a answer, r request) {
	tb.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		tb.Errorf("%d with Content-Type %q", a.status, got)
	}
	challenge := ""
	if a.status == http.StatusUnauthorized && !browser.MayHaveSent(r.header) {
		challenge = `Basic realm="inbox", charset="UTF-8"`
	}
	if got := a.header.Get("WWW-Authenticate"); got != challenge {
		tb.Errorf("%d with WWW-Authenticate: %s, want %q", a.status, got, challenge)
	}
	if (a.status == 405) != (a.header.Get("Allow") != "") {
		tb.Errorf("%d with Allow: %q", a.status, a.header.Get("Allow"))
	}
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if later := a.status == 429 || a.status == 503; later != (err == nil && seconds > 0) {
		tb.Errorf("%d with Retry-After: %q", a.status, a.header.Get("Retry-After"))
	}
	if r.method == http.MethodHead {
		return // HEAD has no body
	}
	var p map[string]any
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		tb.Errorf("%d with a body that is not a JSON object: %q", a.status, a.body)
		return
	}
	if got := slices.Sorted(maps.Keys(p)); !slices.Equal(got, []string{"code", "detail", "status", "title", "type"}) {
		tb.Errorf("a problem with the members %q", got)
	}
	code, _ := p["code"].(string)
	if want, known := statuses[code]; !known || want != a.status || p["status"] != float64(a.status) {
		tb.Errorf("status %d with the problem %s", a.status, a.body)
	}
	if p["type"] != "about:blank" || p["title"] != http.StatusText(a.status) || p["detail"] == "" {
		tb.Errorf("a problem without a title or detail: %s", a.body)
	}
}

// want fails the test unless the answer has this status and, if given, this body.
func (a answer) want(status int, body ...string) answer {
	a.Helper()
	if a.status != status {
		a.Fatalf("got %d (%s), want %d", a.status, a.body, status)
	}
	if len(body) > 0 && a.body != body[0] {
		a.Fatalf("got the body %.100q, want %.100q", a.body, body[0])
	}
	return a
}

// wantProblem fails the test unless the answer is the problem with this code.
func (a answer) wantProblem(code string) answer {
	a.Helper()
	if a.code != code {
		a.Fatalf("got %d (%s), want %s", a.status, a.body, code)
	}
	return a
}

// wantHeader fails the test unless the header has exactly this value, or is absent if
// value is "".
func (a answer) wantHeader(name, value string) answer {
	a.Helper()
	got := a.header[http.CanonicalHeaderKey(name)]
	if value == "" && len(got) == 0 || len(got) == 1 && got[0] == value {
		return a
	}
	a.Fatalf("got %s: %q, want %q", name, got, value)
	return a
}

// wantMessage fails the test unless the answer is this message in raw form.
func (a answer) wantMessage(from, body string) answer {
	a.Helper()
	return a.want(http.StatusOK, body).wantHeader("X-From", from).wantHeader("Content-Type", "application/octet-stream")
}

// cursor returns the answer's Inbox-Cursor.
func (a answer) cursor() string {
	a.Helper()
	c := a.header.Get("Inbox-Cursor")
	if c == "" {
		a.Fatalf("%d without an Inbox-Cursor", a.status)
	}
	return c
}

// batch is the JSON form of an answer.
type batch struct {
	Cursor   string
	Messages []message
	Reset    *bool
}

type message struct {
	Cursor, From, Time string
	Body               *string
	Body64             []byte
}

func (m message) content() string {
	if m.Body != nil {
		return *m.Body
	}
	return string(m.Body64)
}

// batch decodes the JSON form.
func (a answer) batch() batch {
	a.Helper()
	a.want(http.StatusOK).wantHeader("Content-Type", "application/json")
	b, err := parseBatch(a.body)
	if err != nil {
		a.Fatal(err)
	}
	if b.Cursor != a.cursor() {
		a.Fatalf("the cursor is %s in the JSON and %s in the header", b.Cursor, a.cursor())
	}
	return b
}

// parseBatch decodes strictly: unknown members are errors.
func parseBatch(body string) (b batch, err error) {
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	return b, dec.Decode(&b)
}

// wantBodies fails the test unless the answer contains exactly these messages as JSON.
func (a answer) wantBodies(bodies ...string) answer {
	a.Helper()
	if len(bodies) == 0 {
		return a.want(http.StatusNoContent)
	}
	var got []string
	for _, m := range a.batch().Messages {
		got = append(got, m.content())
	}
	if !slices.Equal(got, bodies) {
		a.Fatalf("got %q, want %q", got, bodies)
	}
	return a
}

// escape is encodeURIComponent, except that it also encodes a few characters that need no
// encoding.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
