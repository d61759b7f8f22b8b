package web_test

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"inbox/web"
)

func ask(t *testing.T, h http.Handler, method, target string, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	res.Request = r
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(content)
}

// urls returns the URL of every embedded file.
func urls(t *testing.T) []string {
	t.Helper()
	found := []string{}
	for _, folder := range []string{"demo", "dist"} {
		err := fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				found = append(found, "/"+strings.TrimSuffix(strings.TrimSuffix(name, ".html"), "index"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestEveryFileIsServed(t *testing.T) {
	types := map[string]string{
		"":     "text/html; charset=utf-8",
		".js":  "text/javascript; charset=utf-8",
		".css": "text/css; charset=utf-8",
		".svg": "image/svg+xml",
		".ico": "image/x-icon",
	}
	h := web.Handler()
	all := urls(t)
	for _, must := range []string{"/", "/call", "/files", "/test", "/assets/call.js", "/assets/files.js", "/assets/qr.js", "/assets/logo.svg", "/favicon.ico", "/inbox.js", "/messaging.js", "/mailbox.js", "/rooms.js", "/codes.js", "/trystero.js"} {
		if !strings.Contains(strings.Join(all, "\n")+"\n", must+"\n") {
			t.Errorf("there is no %s", must)
		}
	}
	for _, url := range all {
		res, content := ask(t, h, "GET", url)
		if res.StatusCode != http.StatusOK || content == "" {
			t.Errorf("GET %s: %s, %d bytes", url, res.Status, len(content))
		}
		if got, want := res.Header.Get("Content-Type"), types[path.Ext(url)]; got != want {
			t.Errorf("GET %s: Content-Type %q, want %q", url, got, want)
		}
		if got := res.Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("GET %s: Cache-Control %q", url, got)
		}
		etag := res.Header.Get("ETag")
		if !regexp.MustCompile(`^"[\w-]{16}"$`).MatchString(etag) {
			t.Errorf("GET %s: ETag %q", url, etag)
		}

		res, content = ask(t, h, "GET", url, "If-None-Match", etag)
		if res.StatusCode != http.StatusNotModified || content != "" || res.Header.Get("ETag") != etag {
			t.Errorf("GET %s again: %s, %d bytes, ETag %q", url, res.Status, len(content), res.Header.Get("ETag"))
		}
		res, content = ask(t, h, "HEAD", url)
		if res.StatusCode != http.StatusOK || content != "" || res.Header.Get("Content-Length") == "0" {
			t.Errorf("HEAD %s: %s, %d bytes", url, res.Status, len(content))
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	h := web.Handler()
	for _, target := range append(urls(t), "/nothing", "/assets/") {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			res, _ := ask(t, h, method, target)
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff",
				"Referrer-Policy":        "no-referrer",
				"Permissions-Policy":     "camera=(self), microphone=(self), display-capture=(self)",
			} {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s %s: %s %q, want %q", method, target, name, got, want)
				}
			}
			policy := res.Header.Get("Content-Security-Policy")
			for _, want := range []string{
				"default-src 'self'", "connect-src 'self'", "media-src blob: 'self'", "object-src 'none'",
				"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
			} {
				if !strings.Contains(policy+";", want+";") {
					t.Errorf("%s %s: the policy lacks %s", method, target, want)
				}
			}
			if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
				t.Errorf("%s %s: the policy is lax: %s", method, target, policy)
			}
		}
	}
}

func TestMethodNotAllowed(t *testing.T) {
	h := web.Handler()
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "INVENTED"} {
		res, content := ask(t, h, method, "/call")
		if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" || content == "" {
			t.Errorf("%s: %s, Allow %q, %q", method, res.Status, res.Header.Get("Allow"), content)
		}
	}
}

// Pages of any origin can import the SDK, even under a strict embedder policy. They cannot
// embed anything else.
func TestOnlyTheSDKIsShared(t *testing.T) {
	h := web.Handler()
	for _, url := range urls(t) {
		origins, policy := "", "same-origin"
		if url == "/inbox.js" || url == "/messaging.js" || url == "/mailbox.js" || url == "/rooms.js" || url == "/codes.js" || url == "/trystero.js" {
			origins, policy = "*", "cross-origin"
		}
		etag := ""
		for range 2 { // the second response is 304
			res, _ := ask(t, h, "GET", url, "Origin", "https://elsewhere.example", "If-None-Match", etag)
			if got := res.Header.Get("Access-Control-Allow-Origin"); got != origins {
				t.Errorf("GET %s: %s, Access-Control-Allow-Origin %q, want %q", url, res.Status, got, origins)
			}
			if got := res.Header.Values("Cross-Origin-Resource-Policy"); len(got) != 1 || got[0] != policy {
				t.Errorf("GET %s: %s, Cross-Origin-Resource-Policy %q, want %q", url, res.Status, got, policy)
			}
			if res.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("GET %s: with credentials", url)
			}
			etag = res.Header.Get("ETag")
		}
	}
}

func TestNotFound(t *testing.T) {
	h := web.Handler()
	for _, target := range []string{
		"/index.html", "/call.html", "/inbox/", "/assets", "/assets/", "/assets/../call.html", "/demo/", "/web.go", "/dist/inbox.js", "/inbox.d.ts",
		"/assets/../../web.go", "/assets/%2e%2e/%2e%2e/web.go", "//call", "/assets//call.js", "/CALL", "/call%00",
	} {
		res, content := ask(t, h, "GET", target)
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %s", target, res.Status)
		}
		if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") || !strings.Contains(content, "/call") {
			t.Errorf("GET %s: %s %q, want a text that names the pages", target, res.Header.Get("Content-Type"), content)
		}
		if strings.Contains(content, path.Base(target)) && path.Base(target) != "call" && path.Base(target) != "inbox" {
			t.Errorf("GET %s: the response contains the request: %q", target, content)
		}
		if res.Header.Get("ETag") != "" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("GET %s: may be cached: %v", target, res.Header)
		}
	}
}

// The address of a page with an additional slash redirects to the page and keeps the query,
// under any base path.
func TestTrailingSlash(t *testing.T) {
	h := http.StripPrefix("/signal", web.Handler())
	for target, want := range map[string]string{
		"/signal/call/": "/signal/call", "/signal/files/?to=bob&x=%26": "/signal/files?to=bob&x=%26",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			res, _ := ask(t, h, method, target)
			to, err := res.Request.URL.Parse(res.Header.Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			if got := to.RequestURI(); res.StatusCode != http.StatusPermanentRedirect || got != want {
				t.Errorf("%s %s: %s to %s, want %s", method, target, res.Status, got, want)
			}
		}
	}
	for _, target := range []string{"/signal//", "/signal/assets/call.js/", "/signal/inbox.js/", "/signal/call//", "/signal//call/"} {
		if res, _ := ask(t, h, "GET", target); res.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %s", target, res.Status)
		}
	}
}

// At an unknown address, a browser gets a page with a link to the start page, and a program
// a line of text.
func TestMissing(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/signal/", http.StripPrefix("/signal", web.Handler()))
	mux.Handle("/", web.Missing("/signal/"))
	chrome := "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
	for _, target := range []string{"/signal/cal", "/signal/a/b/c", "/signal/call/x/", "/signal/%22%3E%3Cscript%3E", "/", "/elsewhere", "/a/b/c/", "/signals", "/call"} {
		for _, c := range []struct{ method, accept, contentType string }{
			{"GET", chrome, "text/html"}, {"HEAD", chrome, "text/html"}, {"GET", "TEXT/HTML;q=0.5", "text/html"},
			{"GET", "", "text/plain"}, {"GET", "*/*", "text/plain"}, {"GET", "text/html;q=0", "text/plain"}, {"POST", chrome, "text/plain"},
			{"GET", "application/json", "text/plain"}, {"POST", "*/*", "text/plain"},
		} {
			res, content := ask(t, mux, c.method, target, "Accept", c.accept)
			if res.StatusCode != http.StatusNotFound || !strings.HasPrefix(res.Header.Get("Content-Type"), c.contentType) ||
				!slices.Contains(res.Header.Values("Vary"), "Accept") || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s for %q: %s %v", c.method, target, c.accept, res.Status, res.Header)
			}
			if c.method == "HEAD" {
				continue
			}
			if !strings.Contains(content, "Nothing is here") || strings.Contains(content, "<script") || strings.Contains(content, "HOME") {
				t.Errorf("%s %s for %q: %s", c.method, target, c.accept, content)
			}
			if c.contentType != "text/html" {
				continue
			}
			for _, link := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(content, -1) {
				to, err := res.Request.URL.Parse(link[1])
				if err != nil {
					t.Fatal(err)
				}
				if found, _ := ask(t, mux, "GET", to.Path); found.StatusCode != http.StatusOK {
					t.Errorf("GET %s links to %s, which is %s: %s", target, link[1], to.Path, found.Status)
				}
			}
		}
	}
}

func TestBasePath(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/signal/", http.StripPrefix("/signal", web.Handler()))
	for _, target := range []string{"/signal/", "/signal/call", "/signal/assets/base.css", "/signal/inbox.js"} {
		if res, _ := ask(t, mux, "GET", target); res.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s", target, res.Status)
		}
	}
}

// The pages work below any path, load nothing from elsewhere, and comply with a policy that
// forbids inline scripts and styles.
func TestReferences(t *testing.T) {
	h := web.Handler()
	references := map[string]*regexp.Regexp{
		"":     regexp.MustCompile(`(?i)\b(?:href|src|action|poster|srcset)\s*=\s*"([^"]*)"`),
		".js":  regexp.MustCompile(`\b(?:from|import)\s*\(?\s*"(\.[^"]*)"`),
		".css": regexp.MustCompile(`(?:url\(|@import)\s*"?([^")]*)`),
		".svg": regexp.MustCompile(`(?i)\bhref\s*=\s*"([^"]*)"`),
	}
	inline := regexp.MustCompile(`(?i)<style|\sstyle\s*=|\son[a-z]+\s*=\s*"|javascript:|<script(?:[^>]*)>[^<]|<iframe|<object|<embed`)
	for _, url := range urls(t) {
		_, content := ask(t, h, "GET", url)
		find, ok := references[path.Ext(url)]
		if !ok {
			continue // images refer to nothing
		}
		for _, match := range find.FindAllStringSubmatch(content, -1) {
			reference := match[1]
			if strings.HasPrefix(reference, "/") || strings.Contains(reference, "//") || strings.HasPrefix(reference, "data:") {
				t.Errorf("%s refers to %q", url, reference)
				continue
			}
			target := path.Join(path.Dir(url), strings.SplitN(reference, "#", 2)[0])
			if reference == "./" {
				target = path.Dir(url)
			}
			if res, _ := ask(t, h, "GET", target); res.StatusCode != http.StatusOK {
				t.Errorf("%s refers to %q, which does not exist", url, reference)
			}
		}
		if path.Ext(url) == "" {
			if found := inline.FindString(content); found != "" {
				t.Errorf("%s has inline code: %q", url, found)
			}
		}
		if path.Ext(url) == ".js" {
			if found := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`).FindString(content); found != "" {
				t.Errorf("%s turns text into markup: %s", url, found)
			}
			if lines := strings.Count(content, "\n"); lines > 500 {
				t.Errorf("%s has %d lines", url, lines)
			}
		}
	}
}
