package inboxhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"inbox"
	"inbox/inboxhttp"
	"inbox/memstore"
)

// For any input, the handler answers as documented: a status of the protocol, a
// well-formed problem, the headers of every answer, and no panic.

// fuzzed is a handler that never waits.
type fuzzed struct {
	testing.TB
	h *inboxhttp.Handler
}

func newFuzzed(tb testing.TB) *fuzzed {
	h, err := inboxhttp.New(inboxhttp.Config{
		Store:         memstore.New(inbox.Limits{Inboxes: 10_000, Memory: 1 << 20, TTL: time.Second}),
		Authenticator: testPepper,
		MaxWait:       time.Nanosecond,
		MaxBody:       1000,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return &fuzzed{tb, h}
}

// serve calls the handler without a server. It abandons answers that do not end, such as
// streams, after a moment.
func (f *fuzzed) serve(method, query string, header http.Header, body string) answer {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r := httptest.NewRequest(http.MethodGet, "/inbox", strings.NewReader(body)).WithContext(ctx)
	r.Method, r.URL.RawQuery, r.Header = method, query, header
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	w := httptest.NewRecorder()
	if accept := strings.ToLower(strings.Join(header["Accept"], ",")); strings.Contains(accept, "event-stream") {
		cancel()
	}
	func() {
		defer func() {
			if v := recover(); v != nil && (v != http.ErrAbortHandler || ctx.Err() == nil) {
				panic(v)
			}
		}()
		f.h.ServeHTTP(w, r)
	}()
	a, err := read(f, w.Result())
	if err != nil {
		f.Fatal(err)
	}
	(&server{TB: f}).check(request{method: method, query: query}, a)
	return a
}

// as returns the header of a peer with this id.
func as(id string) http.Header {
	return http.Header{"Authorization": {basic(id + ":" + passwordOf(id))}}
}

// quotesNobody fails the test if an answer echoes its input. The server's own texts do
// not contain the canary.
func (f *fuzzed) quotesNobody(a answer, canary string) {
	f.Helper()
	if whole := fmt.Sprint(a.header) + a.body; a.status >= 400 && strings.Contains(whole, canary) {
		f.Errorf("the answer echoes the input: %s", whole)
	}
}

const canary = "c4n4ry"

func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{
		"", "Basic", "Basic ", "Basic YTpi", "basic YTpi", "Basic  YTpi", "Bearer YTpi", "Basic YTpi=", "Basic YTo=", "Basic OmI=",
		"Basic ????", "Basic\tYTpi", "Digest username=x", "Basic YTpi,Basic YTpi", strings.Repeat("Basic ", 100), "\x00", "Basic /w==",
	} {
		f.Add(seed)
	}
	h := newFuzzed(f)
	f.Fuzz(func(t *testing.T, header string) {
		h := &fuzzed{t, h.h}
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			h.serve(method, "to=a", http.Header{"Authorization": {header}}, "")
			a := h.serve(method, "to=a", http.Header{"Authorization": {header + canary}}, "")
			h.quotesNobody(a, canary)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	for _, seed := range [][2]string{
		{"alice", "secret"}, {"", ""}, {"a", ""}, {"", "b"}, {"a:b", "c"}, {"名前", "::"}, {" a", "b"}, {"a\u00a0", "b"}, {"a\x00", "b"},
		{"\xff", "b"}, {"\u0085", "b"}, {"a\u2028b", "b"}, {strings.Repeat("a", 512), strings.Repeat("b", 256)},
		{strings.Repeat("a", 513), "b"}, {"a", strings.Repeat("b", 257)}, {"\ufeffa", "\xff"},
	} {
		f.Add(seed[0], seed[1])
	}
	h := newFuzzed(f)
	f.Fuzz(func(t *testing.T, id, password string) {
		h := &fuzzed{t, h.h}
		a := h.serve(http.MethodGet, "limit=0", http.Header{"Authorization": {basic(id + ":" + password)}}, "")
		// Basic ends the id at the first colon.
		id, password, _ = strings.Cut(id+":"+password, ":")
		ok := validID(id) && len(password) >= 1 && len(password) <= 256
		switch {
		case a.status == http.StatusUnauthorized && ok: // the id exists with another password
		case a.code == "server-full" && ok:
		case ok != (a.status == http.StatusNoContent), !ok && a.code != "bad-credentials":
			t.Errorf("id %q and password %q: %d %s", id, password, a.status, a.body)
		}
	})
}

// validID implements section 2.2 independently.
func validID(id string) bool {
	if len(id) < 1 || len(id) > 512 || !utf8.ValidString(id) || strings.TrimSpace(id) != id {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool { return r == ':' || unicode.Is(unicode.Cc, r) })
}

func FuzzReceiveQuery(f *testing.F) {
	for _, seed := range []string{
		"", "wait=0", "wait=25&limit=1", "after=0", "after=0&limit=0", "after=" + strings.Repeat("A", 22), "after=&wait=&limit=",
		"limit=99999999999999999999", "wait=-1", "wait=0&wait=0", "%zz", "a;b", "after=0&after=0", "limit=%30", "&&&", "=", "wait=0#",
	} {
		f.Add(seed)
	}
	h := newFuzzed(f)
	f.Fuzz(func(t *testing.T, query string) {
		h := &fuzzed{t, h.h}
		a := h.serve(http.MethodGet, query, as("alice"), "")
		switch a.status {
		case http.StatusOK, http.StatusNoContent, http.StatusBadRequest:
		default:
			t.Errorf("?%s: %d %s", query, a.status, a.body)
		}
		h.quotesNobody(h.serve(http.MethodGet, query+canary, as("alice"), ""), canary)
		h.serve(http.MethodDelete, query, as("alice"), "")
	})
}

func FuzzSendQuery(f *testing.F) {
	for _, seed := range []string{
		"", "to", "to=", "to=alice", "to=alice&to=bob", "to=%61", "to=%ff", "to=%zz", "to=a%0d%0ab", "to=+a", "to=a;b", "TO=alice",
		"to=" + strings.Repeat("a", 513), "to=%E5%90%8D", "to=a%3Ab",
	} {
		f.Add(seed, "body", "key")
	}
	f.Add("to=alice", strings.Repeat("x", 1001), "")
	f.Add("to=alice", "", "a b")
	h := newFuzzed(f)
	f.Fuzz(func(t *testing.T, query, body, key string) {
		h := &fuzzed{t, h.h}
		h.serve(http.MethodGet, "limit=0", as("alice"), "")
		header := as("bob")
		header["Idempotency-Key"] = []string{key}
		a := h.serve(http.MethodPost, query, header, body)
		switch a.status {
		case http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable:
		default:
			t.Errorf("?%s: %d %s", query, a.status, a.body)
		}
		if a.status == http.StatusOK {
			q, err := url.ParseQuery(query)
			if err != nil || len(q["to"]) != 1 || !validID(q.Get("to")) {
				t.Errorf("?%s has a valid recipient", query)
			}
			for h.serve(http.MethodGet, "wait=0", as(q.Get("to")), "").status == http.StatusOK {
			}
		}
		header["Idempotency-Key"] = []string{key + canary}
		h.quotesNobody(h.serve(http.MethodPost, query+canary, header, body+canary), canary)
	})
}

func FuzzAccept(f *testing.F) {
	for _, seed := range []string{
		"", "*/*", "application/json", "application/json;q=0", "application/json; q=\"0\"", "text/plain, application/json;q=0.9", "text/html, application/json;q=0.9",
		"text/event-stream", "text/event-stream, application/json", ",;,", "application/json;;;q==", "APPLICATION/JSON ; Q = 0",
	} {
		f.Add(seed)
	}
	h := newFuzzed(f)
	f.Fuzz(func(t *testing.T, accept string) {
		h := &fuzzed{t, h.h}
		h.serve(http.MethodGet, "limit=0", as("alice"), "")
		h.serve(http.MethodPost, "to=alice", as("bob"), "hello")
		header := as("alice")
		header["Accept"] = []string{accept}
		a := h.serve(http.MethodGet, "after=0&wait=0", header, "")
		switch kind := a.header.Get("Content-Type"); {
		case kind == "application/json":
			if _, err := parseBatch(a.body); err != nil {
				t.Error(err)
			}
		case kind == "application/octet-stream" && a.body == "hello":
		case kind == "text/event-stream", a.status >= 400, strings.Contains(strings.ToLower(accept), "event-stream"):
		default:
			t.Errorf("Accept: %q gets %d %s %q", accept, a.status, kind, a.body)
		}
	})
}

// FuzzXFrom checks that every valid id survives encoding and fits into a header.
func FuzzXFrom(f *testing.F) {
	for _, seed := range []string{"bob", "a b", "%", "%41", "é", "名前", "a+b", "a/b?c#d", "\u202e", "👩‍👩‍👧", "\ufeff", "a\u2028b", "~!\x7f"} {
		f.Add(seed)
	}
	h := newFuzzed(f)
	f.Fuzz(func(t *testing.T, id string) {
		h := &fuzzed{t, h.h}
		if !validID(id) || id == "alice" {
			return
		}
		h.serve(http.MethodDelete, "", as("alice"), "")
		h.serve(http.MethodGet, "limit=0", as("alice"), "")
		if a := h.serve(http.MethodPost, "to=alice", as(id), "x"); a.status != http.StatusOK {
			return // the store is full
		}
		from := h.serve(http.MethodGet, "wait=0", as("alice"), "").header.Get("X-From")
		if back, err := url.PathUnescape(from); err != nil || back != id { // like decodeURIComponent
			t.Errorf("the id %q became %q and then %q (%v)", id, from, back, err)
		}
		plain := true
		for i := range len(id) {
			plain = plain && id[i] >= '!' && id[i] <= '~' && id[i] != '%'
		}
		if plain && from != id {
			t.Errorf("the plain id %q became %q", id, from)
		}
		if strings.ContainsFunc(from, func(r rune) bool { return r < '!' || r > '~' }) {
			t.Errorf("the id %q became %q, which a header cannot carry", id, from)
		}
	})
}
