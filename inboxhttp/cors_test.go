package inboxhttp_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"inbox/inboxhttp"
	"inbox/memstore"

	"inbox"
)

// Section 8: browsers.

// page behaves like a page in a browser that follows the Fetch standard.
type page struct {
	s      *server
	origin string
	mode   string // Sec-Fetch-Mode; cors
	site   string // Sec-Fetch-Site; cross-site
}

// fetch sends r and reports whether the page may read the answer. It sends a preflight
// first if a browser would.
func (p page) fetch(r request, headers ...string) (a answer, readable bool) {
	p.s.Helper()
	slices.Sort(headers)
	preflight := http.Header{
		"Origin": {p.origin}, "Access-Control-Request-Method": {r.method}, "Sec-Fetch-Mode": {"cors"},
		"Access-Control-Request-Headers": {strings.Join(headers, ",")},
	}
	if len(headers) == 0 {
		preflight.Del("Access-Control-Request-Headers")
	}
	if len(headers) > 0 || r.method != http.MethodGet && r.method != http.MethodPost {
		a = p.s.do(request{method: http.MethodOptions, header: preflight})
		if !p.permits(a, r.method, headers) {
			return a, false
		}
	}
	r.header = http.Header{"Origin": {p.origin}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Site": {"cross-site"}}
	if p.mode != "" {
		r.header.Set("Sec-Fetch-Mode", p.mode)
	}
	if p.site != "" {
		r.header.Set("Sec-Fetch-Site", p.site)
	}
	a = p.s.do(r)
	return a, p.allowed(a)
}

func (p page) allowed(a answer) bool {
	origin := a.header.Get("Access-Control-Allow-Origin")
	return origin == "*" || origin == p.origin
}

func (p page) permits(a answer, method string, headers []string) bool {
	p.s.Helper()
	if a.status != http.StatusNoContent || !p.allowed(a) {
		return false
	}
	if age, err := strconv.Atoi(a.header.Get("Access-Control-Max-Age")); err != nil || age < 60 {
		p.s.Errorf("a preflight without a max-age that saves the next one: %q", a.header.Get("Access-Control-Max-Age"))
	}
	if methods := list(a.header, "Access-Control-Allow-Methods"); method == http.MethodDelete && !slices.Contains(methods, "delete") {
		return false
	}
	granted := list(a.header, "Access-Control-Allow-Headers")
	for _, name := range headers {
		if !slices.Contains(granted, name) {
			return false
		}
	}
	return true
}

// list returns the elements of a list header in lower case.
func list(header http.Header, name string) (items []string) {
	for item := range strings.SplitSeq(strings.ToLower(strings.Join(header.Values(name), ",")), ",") {
		items = append(items, strings.TrimSpace(item))
	}
	return items
}

// Section 8: preflights succeed for allowed origins only, never allow credentials, allow
// every header that is asked for, and carry a max-age.
func TestCORS(t *testing.T) {
	for name, c := range map[string]struct {
		allow   []string
		origin  string
		allowed bool
	}{
		"the default":                    {nil, "https://app.example", true},
		"any":                            {[]string{"*"}, "https://app.example", true},
		"any origin, page from a file":   {[]string{"*"}, "null", true},
		"listed":                         {[]string{"https://app.example"}, "https://app.example", true},
		"one of two":                     {[]string{"https://a.example", "https://b.example"}, "https://b.example", true},
		"a subdomain":                    {[]string{"https://*.example.com"}, "https://app.example.com", true},
		"localhost":                      {[]string{"http://localhost:5173"}, "http://localhost:5173", true},
		"not listed":                     {[]string{"https://app.example"}, "https://evil.example", false},
		"another scheme":                 {[]string{"https://app.example"}, "http://app.example", false},
		"another port":                   {[]string{"https://app.example"}, "https://app.example:8443", false},
		"a longer name":                  {[]string{"https://app.example"}, "https://app.example.evil.example", false},
		"a longer name before it":        {[]string{"https://app.example"}, "https://evilapp.example", false},
		"the suffix inside another name": {[]string{"https://*.example.com"}, "https://example.com.evil.example", false},
		"a file":                         {[]string{"https://app.example"}, "null", false},
		"a malformed origin":             {[]string{"https://app.example"}, "app.example", false},
		"in upper case":                  {[]string{"https://app.example"}, "HTTPS://APP.EXAMPLE", false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config{Config: origins(c.allow...)}, func(s *server) {
				s.open("alice", "bob")
				p := page{s: s, origin: c.origin}
				for _, r := range []request{
					{method: http.MethodGet, id: "alice", query: "?wait=0"},
					{method: http.MethodPost, id: "bob", query: "?to=alice", body: strings.NewReader("x")},
					{method: http.MethodPost, id: "bob", query: "?to=nobody"}, // pages can read errors, too
					{method: http.MethodDelete, id: "bob"},
				} {
					a, readable := p.fetch(r, "authorization", "content-type", "idempotency-key", "last-event-id")
					if readable != c.allowed {
						s.Errorf("%s: the page can read the answer: %v, want %v", r.method, readable, c.allowed)
					}
					if a.header.Get("Access-Control-Allow-Credentials") != "" {
						s.Error("credentials are allowed")
					}
					exposed := list(a.header, "Access-Control-Expose-Headers")
					for _, name := range []string{"x-from", "inbox-cursor", "inbox-reset", "idempotency-replayed", "retry-after"} {
						if readable && !slices.Contains(exposed, name) {
							s.Errorf("%s: %s is not exposed", r.method, name)
						}
					}
				}
			})
		})
	}
}

// Tracing tools add their own headers to all requests of a page.
func TestCORSAllowsExtraHeaders(t *testing.T) {
	for _, allow := range [][]string{nil, {"https://app.example"}, {"https://*.example"}} {
		inBubble(t, config{Config: origins(allow...)}, func(s *server) {
			s.open("alice")
			p := page{s: s, origin: "https://app.example"}
			for _, r := range []request{
				{method: http.MethodGet, id: "alice", query: "?wait=0"}, {method: http.MethodPost, id: "alice", query: "?to=alice"}, {method: http.MethodDelete, id: "alice"},
			} {
				a, readable := p.fetch(r, "authorization", "b3", "baggage", "traceparent", "tracestate", "x-requested-with")
				if !readable || !slices.Contains(list(a.header, "Access-Control-Expose-Headers"), "*") {
					s.Errorf("%v: %s may not be sent or read: %d %v", allow, r.method, a.status, a.header)
				}
			}
		})
	}
}

// Unknown methods and malformed header names are not allowed.
func TestCORSRefusesUnknownMethods(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		p := page{s: s, origin: "https://app.example"}
		if _, readable := p.fetch(request{method: http.MethodGet, id: "alice", query: "?wait=0"}, "no header"); readable {
			s.Error("a malformed header name is allowed")
		}
		for _, method := range []string{http.MethodPatch, http.MethodHead} {
			a := s.do(request{method: http.MethodOptions, header: http.Header{
				"Origin": {"https://app.example"}, "Access-Control-Request-Method": {method},
			}})
			if slices.Contains(list(a.header, "Access-Control-Allow-Methods"), strings.ToLower(method)) {
				s.Errorf("%s is allowed", method)
			}
		}
	})
}

// A request of a forbidden page has no effect, even if the browser sends it without a
// preflight.
func TestForbiddenOrigin(t *testing.T) {
	overStores(t, config{Config: origins("https://app.example")}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		p := page{s: s, origin: "https://evil.example"}
		for _, r := range []request{
			{method: http.MethodGet, id: "alice"},
			{method: http.MethodGet, id: "alice", query: "?after=0"},
			{method: http.MethodPost, id: "alice", query: "?to=alice", body: strings.NewReader("forged")},
			{method: http.MethodGet}, // checked before the credentials
		} {
			a, readable := p.fetch(r)
			if a.wantProblem("forbidden-origin"); readable {
				s.Error("the page may read the answer")
			}
		}
		s.do(request{method: http.MethodDelete, id: "alice", header: http.Header{"Origin": {"null"}}}).wantProblem("forbidden-origin")
		s.getJSON("alice", "?after=0").wantBodies("precious")
	})
}

// The server's own pages need no permission.
func TestSameOrigin(t *testing.T) {
	overStores(t, config{Config: origins("https://app.example")}, func(s *server) {
		for name, c := range map[string]struct {
			host   string
			header http.Header
			ok     bool
		}{
			"no origin and no browser":    {"inbox.example", http.Header{}, true},
			"a GET of the server's page":  {"inbox.example", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}}, true},
			"a POST of the server's page": {"inbox.example", http.Header{"Origin": {"https://inbox.example"}}, true},
			"with a port":                 {"inbox.example:3000", http.Header{"Origin": {"http://inbox.example:3000"}}, true},
			"behind a proxy":              {"10.0.0.7:3000", http.Header{"Origin": {"https://inbox.example"}, "Sec-Fetch-Site": {"same-origin"}}, true},
			"another host":                {"inbox.example", http.Header{"Origin": {"https://evil.example"}}, false},
			"another port":                {"inbox.example:3000", http.Header{"Origin": {"http://inbox.example:4000"}}, false},
			"same site, not same origin":  {"inbox.example", http.Header{"Origin": {"https://x.inbox.example"}, "Sec-Fetch-Site": {"same-site"}}, false},
			"cross-site":                  {"inbox.example", http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}, false},
			"null":                        {"inbox.example", http.Header{"Origin": {"null"}}, false},
			"a user before the host":      {"inbox.example", http.Header{"Origin": {"https://inbox.example@evil.example"}}, false},
		} {
			a := s.do(request{id: "alice", query: "?wait=0", host: c.host, header: c.header})
			if ok := a.status == http.StatusNoContent; ok != c.ok || !ok && a.code != "forbidden-origin" {
				s.Errorf("%s: got %d %q", name, a.status, a.code)
			}
		}
	})
}

// A GET takes messages. So every request that another site's page can cause without a
// script is 403 forbidden-navigation.
func TestForbiddenNavigation(t *testing.T) {
	overStores(t, config{}, func(s *server) {
		s.open("alice")
		s.send("bob", "alice", "precious")
		for name, header := range map[string]http.Header{
			"a link":          {"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"cross-site"}},
			"the address bar": {"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"}},
			"a frame":         {"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"iframe"}, "Sec-Fetch-Site": {"same-origin"}},
			"an image":        {"Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Dest": {"image"}, "Sec-Fetch-Site": {"cross-site"}},
			"a script":        {"Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Dest": {"script"}, "Sec-Fetch-Site": {"same-origin"}},
			"a form":          {"Sec-Fetch-Mode": {"navigate"}, "Origin": {"https://evil.example"}},
			"a CORS image":    {"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"image"}, "Origin": {"https://evil.example"}},
			"a prefetch":      {"Sec-Purpose": {"prefetch"}},
			"over plain HTTP": {"Upgrade-Insecure-Requests": {"1"}},
			"a page":          {"Accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}},
			"a page or all":   {"Accept": {"*/*, TEXT/HTML"}},
			"a page or JSON":  {"Accept": {"application/json, text/html;q=0.1"}},
			"two Accepts":     {"Accept": {"text/event-stream", "application/xhtml+xml"}},
		} {
			for _, r := range []request{
				{method: http.MethodGet, id: "alice"}, {method: http.MethodGet, id: "alice", query: "?wait=0"},
				sending("alice", "alice", "forged"), {method: http.MethodGet}, {method: http.MethodDelete, id: "alice"},
			} {
				r.header = header
				if a := s.do(r); a.code != "forbidden-navigation" {
					s.Errorf("%s: %s got %d %q", name, r.method, a.status, a.code)
				}
			}
		}
		for _, mode := range []string{"cors", "same-origin", "websocket", ""} {
			r := request{id: "alice", query: "?after=0", header: http.Header{"Sec-Fetch-Mode": {mode}}}
			s.do(r).wantMessage("bob", "precious")
		}
		s.getJSON("alice", "?after=0").wantBodies("precious")
	})
}

// If the answer depends on the origin, it says Vary: Origin, even though no cache stores
// it.
func TestVaryOrigin(t *testing.T) {
	overStores(t, config{Config: origins("https://a.example", "https://b.example")}, func(s *server) {
		for _, origin := range []string{"https://a.example", "https://evil.example", ""} {
			r := request{id: "alice", query: "?wait=0", header: http.Header{"Origin": {origin}}}
			if origin == "" {
				r.header = nil
			}
			if a := s.do(r); !slices.Contains(list(a.header, "Vary"), "origin") {
				s.Errorf("Origin %q: Vary: %q", origin, a.header.Values("Vary"))
			}
		}
	})
}

// A malformed list of origins is an error at the start.
func TestBadOrigins(t *testing.T) {
	for _, bad := range []string{
		"", "app.example", "https://app.example/", "https://app.example/path", "https://*",
		"*.example.com", "ftp:/x", "https://app.example:99999", "null",
	} {
		_, err := inboxhttp.New(inboxhttp.Config{
			Store: memstore.New(inbox.Limits{}), Authenticator: inbox.NewPepper([inbox.PepperSize]byte{}),
			AllowOrigins: []string{bad},
		})
		if err == nil {
			t.Errorf("%q is accepted as an origin", bad)
		}
	}
}
