package browser

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An operator may write an origin in any form that a browser would accept.
func TestOrigins(t *testing.T) {
	for _, c := range []struct{ allowed, sent string }{
		{"https://app.example", "https://app.example"},
		{"HTTPS://App.Example", "https://app.example"},
		{"https://app.example:443", "https://app.example"},
		{"http://app.example:80", "http://app.example"},
		{"http://app.example:443", "http://app.example:443"},
		{"https://app.example:08443", "https://app.example:8443"},
		{"http://3dprinter:8080", "http://3dprinter:8080"},
		{"http://3dprinter", "http://3dprinter"},
		{"http://printer", "http://printer"},
		{"http://my_host.local:3000", "http://my_host.local:3000"},
		{"http://localhost:*", "http://localhost:5173"},
		{"http://localhost:*", "http://localhost"},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"http://[::1]:8080", "http://[::1]:8080"},
		{"http://[0:0:0:0:0:0:0:1]", "http://[::1]"},
		{"https://[2001:DB8::1]:443", "https://[2001:db8::1]"},
		{"http://[::ffff:1.2.3.4]", "http://[::ffff:102:304]"},
		{"https://*.example.com", "https://app.example.com"},
		{"https://*.example.com", "https://a.b.example.com"},
		{"https://*.Example.com:443", "https://app.example.com"},
		{"https://*.example.com:*", "https://app.example.com:8443"},
		{"https://müller.example", "https://xn--mller-kva.example"},
		{"https://MÜLLER.example", "https://xn--mller-kva.example"},
		{"https://faß.example", "https://xn--fa-hia.example"},
		{"https://xn--mller-kva.example", "https://xn--mller-kva.example"},
		{"https://*.müller.example", "https://app.xn--mller-kva.example"},
		{"https://app。example", "https://app.example"},
		{"https://app.example.", "https://app.example."},
		{"https://r3---sn-x.example", "https://r3---sn-x.example"},
		{"moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc", "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc"},
		{"MOZ-EXTENSION://2C127FA4-62c7-7e4f-90e5-472b45eecfdc", "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc"},
		{"moz-extension://*", "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc"},
		{"chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb", "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb"},
		{"safari-web-extension://E8D2B5C2-0000", "safari-web-extension://E8D2B5C2-0000"},
		{"capacitor://localhost", "capacitor://localhost"},
		{"ionic://localhost:8100", "ionic://localhost:8100"},
		{"tauri://localhost", "tauri://localhost"},
		{"app://obsidian.md", "app://obsidian.md"},
		{"vscode-webview://0abc", "vscode-webview://0abc"},
		{"app://-", "app://-"},
		{"*", "null"},
		{"*", "anything at all"},
	} {
		p, err := New(Config{Origins: []string{c.allowed}})
		if err != nil {
			t.Errorf("%q: %v", c.allowed, err)
		} else if !p.permits(c.sent) {
			t.Errorf("%q does not allow %q", c.allowed, c.sent)
		}
	}
}

func TestOriginsAllowNoOthers(t *testing.T) {
	for _, c := range []struct{ allowed, sent string }{
		{"https://app.example", "http://app.example"},
		{"https://app.example", "https://app.example:8443"},
		{"https://app.example", "https://app.example.evil.example"},
		{"https://app.example", "https://app.example@evil.example"},
		{"https://app.example", "https://app.example/"},
		{"https://app.example", "HTTPS://APP.EXAMPLE"},
		{"https://app.example", "https://app.example, https://app.example"},
		{"https://app.example", "null"},
		{"https://app.example", ""},
		{"https://*.example.com", "https://example.com"},
		{"https://*.example.com", "https://.example.com"},
		{"https://*.example.com", "https://evilexample.com"},
		{"https://*.example.com", "https://evil.example/.example.com"},
		{"https://*.example.com", "https://evil.example?.example.com"},
		{"https://*.example.com", "https://evil.example#.example.com"},
		{"https://*.example.com", "https://evil.example\\.example.com"},
		{"https://*.example.com", "https://app.example.com:8443"},
		{"https://*.example.com", "http://app.example.com"},
		{"http://localhost:*", "http://localhost.evil.example:80"},
		{"http://localhost:*", "http://localhost:"},
		{"http://localhost:*", "https://localhost:3000"},
		{"moz-extension://*", "chrome-extension://2c127fa4"},
		{"moz-extension://*", "moz-extension://"},
	} {
		p, err := New(Config{Origins: []string{c.allowed}})
		if err != nil {
			t.Errorf("%q: %v", c.allowed, err)
		} else if p.permits(c.sent) {
			t.Errorf("%q allows %q", c.allowed, c.sent)
		}
	}
}

// The error names what is wrong with an origin and what to write instead.
func TestInvalidOrigins(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "empty",
		"app.example":               "try: https://app.example",
		"//app.example":             "try: https://app.example",
		"*.example.com":             "no scheme",
		"ftp:/x":                    "no scheme",
		"https://app.example/":      "try: https://app.example)",
		"https://app.example/a?b":   "try: https://app.example)",
		"https://app.example?":      "has no path",
		"https://me@app.example":    "has no user",
		"wss://app.example":         "try: https://app.example",
		"ws://app.example":          "try: http://app.example",
		"1x://app.example":          `"1x" is not a scheme`,
		"null":                      "sandboxed frames",
		"file:///index.html":        "sandboxed frames",
		"https://*":                 "a * may only",
		"https://*.*.example":       "a * may only",
		"https://app*.example":      "a * may only",
		"https://*.1.2.3.4":         "ends in a number",
		"https://":                  "empty host",
		"https://:80":               "empty host",
		"https://app.example:":      "empty host",
		"https://app.example:99999": "1 to 65535",
		"https://app.example:0":     "1 to 65535",
		"https://app.example:x":     "1 to 65535",
		"https://256.1.1.1":         "ends in a number",
		"https://1.2.3":             "ends in a number",
		"https://a.0x1f":            "ends in a number",
		"http://::1":                "brackets (try: http://[",
		"http://[::1%eth0]":         "without a zone",
		"http://[::1":               "not an IPv6 address",
		"http://[1.2.3.4]":          "not an IPv6 address",
		"https://a b.example":       "is not a host name",
		"https://a%20b.example":     "is not a host name",
		"https://a..example":        "is not a host name",
		"https://a.example, *":      "a * may only",
		"https://ﷺ.example\u202e":   "is not a host name",
		"moz-extension://a b":       "is not a host",
		"https://" + strings.Repeat("a", 400) + ".example": "want at most",
	} {
		if _, err := New(Config{Origins: []string{text}}); err == nil {
			t.Errorf("%q is accepted as an origin", text)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q in it", text, err, want)
		}
	}
	if _, err := New(Config{Origins: []string{"*", "https://app.example"}}); err == nil || !strings.Contains(err.Error(), "stands alone") {
		t.Errorf("* with another origin: %v", err)
	}
}

// A page of this server needs no permission, whatever port is in Host.
func TestOwnPages(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		tls, own     bool
	}{
		{"https://inbox.example", "inbox.example", false, true},
		{"http://inbox.example", "inbox.example", false, true},
		{"https://inbox.example", "inbox.example:443", true, true},
		{"http://inbox.example", "inbox.example:80", false, true},
		{"https://inbox.example", "INBOX.example", false, true},
		{"http://[::1]:3000", "[::1]:3000", false, true},
		{"http://inbox.example", "inbox.example", true, false},
		{"https://inbox.example", "inbox.example:80", false, false},
		{"http://inbox.example:4000", "inbox.example:3000", false, false},
		{"capacitor://inbox.example", "inbox.example", false, false},
		{"null", "", false, false},
		{"https://x@inbox.example", "inbox.example", false, false},
		{"", "", false, false},
	} {
		r := &http.Request{Host: c.host, Header: http.Header{}}
		if c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if isOwn(r, c.origin) != c.own {
			t.Errorf("%+v: got %v", c, !c.own)
		}
	}
}

// All header names that a preflight asks for are allowed, and nothing else is echoed.
func TestPreflightAllowsWhatItAsksFor(t *testing.T) {
	for _, allowed := range []string{"*", "https://app.example", "https://*.example"} {
		p, err := New(Config{Origins: []string{allowed}, Methods: "GET, POST, DELETE", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			asked []string
			want  string
		}{
			{nil, ""},
			{[]string{""}, ""},
			{[]string{"traceparent"}, "traceparent"},
			{[]string{"authorization,b3,baggage,content-type,newrelic,sentry-trace,traceparent,tracestate,uber-trace-id,x-datadog-trace-id"}, "authorization,b3,baggage,content-type,newrelic,sentry-trace,traceparent,tracestate,uber-trace-id,x-datadog-trace-id"},
			{[]string{"Authorization, X-Requested-With"}, "authorization,x-requested-with"},
			{[]string{"a", "b,,\tc"}, "a,b,c"},
			{[]string{"a b"}, "refused"},
			{[]string{"a,b\r\nX: y"}, "refused"},
			{[]string{"ä"}, "refused"},
			{[]string{"a:"}, "refused"},
			{[]string{strings.Repeat("a,", 3000)}, "refused"},
			{[]string{strings.Repeat("a", 5000)}, "refused"},
		} {
			r := httptest.NewRequest(http.MethodOptions, "/inbox", nil)
			r.Header = http.Header{"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"POST"}}
			if c.asked != nil {
				r.Header["Access-Control-Request-Headers"] = c.asked
			}
			w := httptest.NewRecorder()
			if !p.CORS(w, r) {
				t.Fatal("the preflight was not answered")
			}
			h := w.Header()
			if c.want == "refused" {
				if w.Code != http.StatusForbidden || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Access-Control-Allow-Headers") != "" {
					t.Errorf("%s: %.50q was answered with %d %v", allowed, c.asked, w.Code, h)
				}
				continue
			}
			if w.Code != http.StatusNoContent || h.Get("Access-Control-Allow-Headers") != c.want {
				t.Errorf("%s: %.50q was answered with %d %v", allowed, c.asked, w.Code, h)
			}
		}
	}
}

// A request that a browser sends is never taken for a program's.
func TestMayHaveSent(t *testing.T) {
	for name, h := range map[string]http.Header{
		"a script":             {"Origin": {"null"}},
		"Fetch metadata":       {"Sec-Fetch-Site": {"same-origin"}},
		"a hint":               {"Sec-Ch-Ua": {`"x"`}},
		"privacy control":      {"Sec-Gpc": {"1"}},
		"a navigation":         {"Upgrade-Insecure-Requests": {"1"}},
		"a page":               {"Accept": {"application/json, Text/HTML;q=0.1"}},
		"a prefetch":           {"Purpose": {"prefetch"}},
		"an image, plain HTTP": {"Accept": {"image/webp,*/*;q=0.8"}, "Accept-Language": {"en"}},
		"a script element":     {"Accept": {"*/*"}, "User-Agent": {"Mozilla/5.0"}},
		"with a referrer":      {"Referer": {"http://example.com/"}},
		"with cookies":         {"Cookie": {"a=b"}},
	} {
		if !MayHaveSent(h) {
			t.Errorf("%s is taken for a program's request", name)
		}
	}
	for name, h := range map[string]http.Header{
		"nothing":     {},
		"curl":        {"User-Agent": {"curl/8.5.0"}, "Accept": {"*/*"}},
		"Go":          {"User-Agent": {"Go-http-client/1.1"}, "Accept-Encoding": {"gzip"}},
		"Python":      {"User-Agent": {"python-requests/2.31"}, "Accept-Encoding": {"gzip, deflate"}, "Accept": {"*/*"}, "Connection": {"keep-alive"}},
		"a socket":    {"Sec-Websocket-Key": {"x"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Protocol": {"inbox.v1"}},
		"not a page":  {"Accept": {"text/html;q=0, */*"}},
		"JSON":        {"Accept": {"application/json"}},
		"with a user": {"Authorization": {"Basic eDp5"}},
	} {
		if MayHaveSent(h) {
			t.Errorf("%s is taken for a browser's request", name)
		}
	}
}

func TestIsNavigation(t *testing.T) {
	for name, h := range map[string]http.Header{
		"a link":               {"Sec-Fetch-Mode": {"navigate"}},
		"an image":             {"Sec-Fetch-Mode": {"no-cors"}},
		"an image, with CORS":  {"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"image"}},
		"a module":             {"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"script"}},
		"two modes":            {"Sec-Fetch-Mode": {"cors", "navigate"}},
		"two destinations":     {"Sec-Fetch-Dest": {"empty", "document"}},
		"a click":              {"Sec-Fetch-User": {"?1"}},
		"a future mode":        {"Sec-Fetch-Mode": {"webidentity"}},
		"over plain HTTP":      {"Upgrade-Insecure-Requests": {"1"}},
		"a request for a page": {"Accept": {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}},
		"a page or data":       {"Accept": {"application/json, text/html;q=0.1"}},
		"a page or a stream":   {"Accept": {"text/event-stream", "Text/HTML"}},
		"a page with a level":  {"Accept": {"text/html ; level=1 , */*"}},
		"a prefetch":           {"Sec-Purpose": {"prefetch;prerender"}},
		"an old prefetch":      {"X-Moz": {"prefetch"}},
	} {
		if !IsNavigation(h) {
			t.Errorf("%s is not recognized", name)
		}
	}
	for name, h := range map[string]http.Header{
		"fetch":          {"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://app.example"}},
		"its own page":   {"Sec-Fetch-Mode": {"same-origin"}, "Sec-Fetch-Dest": {"empty"}},
		"a WebSocket":    {"Sec-Fetch-Mode": {"websocket"}, "Sec-Fetch-Dest": {"websocket"}},
		"data only":      {"Accept": {"text/html;q=0, application/json;q=0.9"}},
		"a program":      {"Accept": {"*/*"}},
		"an EventSource": {"Accept": {"text/event-stream"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}},
	} {
		if IsNavigation(h) {
			t.Errorf("%s is taken for a navigation", name)
		}
	}
}

// The log names each refused origin once, with the host and the flag to set. It stays
// short however many origins strangers invent.
func TestRefusedPagesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p, err := New(Config{Origins: []string{"https://app.example"}, Methods: "GET", Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(origin string) bool {
			r := httptest.NewRequest(http.MethodGet, "/inbox", nil)
			r.Host = "10.0.0.7:3000"
			r.Header.Set("Origin", origin)
			return p.May(r)
		}
		lines := func() []string { return slices.Collect(strings.Lines(log.String())) }
		for range 3 {
			if ask("https://other.example") || !ask("https://app.example") {
				t.Fatal("the wrong page was refused")
			}
		}
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "origin=https://other.example host=10.0.0.7:3000 try=\"--allow-origin https://other.example\"") {
			t.Fatalf("the log is %q", got)
		}
		for i := range 1000 {
			ask(fmt.Sprintf("https://x%d.example", i))
		}
		if n := len(lines()); n != maxRefusals+1 {
			t.Errorf("%d lines about 1,001 origins, want %d", n, maxRefusals+1)
		}
		log.Reset()
		time.Sleep(refusalsAge)
		ask("https://late.example")
		ask("null")
		ask("something; else\nand a line")
		ask("https://app.example;reboot")
		ask("https://*.example")
		ask("https://" + strings.Repeat("x", 10000))
		got := strings.Join(lines(), "")
		if len(lines()) != 3 || !strings.Contains(got, "https://late.example") || strings.Contains(got, "something") || strings.Contains(got, "reboot") || !strings.Contains(got, "origin=null") || len(got) > 2000 {
			t.Errorf("the log is %q", got)
		}
	})
}
