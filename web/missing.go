package web

import (
	_ "embed"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// missingPage is the HTML page for unknown addresses. HOME stands for the relative URL of
// the start page, without its last slash.
//
//go:embed missing.html
var missingPage string

const missingText = "Nothing is here. The pages are /, /call, /files and /test. Programs use /inbox.\n"

// Missing returns a handler for addresses outside base. The base path ends with a slash, and
// everything else is served below it.
func Missing(base string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guard(w)
		missing(w, r, up(r.URL.Path)+base)
	})
}

// up returns the relative URL of the root, as seen from path.
func up(path string) string {
	return "." + strings.Repeat("/..", max(strings.Count(path, "/")-1, 0))
}

// missing sends a page to browsers and a line of text to programs. The response never
// contains the request.
func missing(w http.ResponseWriter, r *http.Request, home string) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	content, contentType := missingText, "text/plain; charset=utf-8"
	if reads && accepts(r.Header.Values("Accept"), "text/html") {
		content, contentType = strings.ReplaceAll(missingPage, "HOME", html.EscapeString(strings.TrimSuffix(home, "/"))), "text/html; charset=utf-8"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Vary", "Accept")
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		io.WriteString(w, content)
	}
}

// accepts reports whether Accept names a media type and does not refuse it.
func accepts(accept []string, mediaType string) bool {
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, parameters, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(name), mediaType) {
			q, weighted := strings.CutPrefix(strings.ToLower(strings.TrimSpace(parameters)), "q=")
			return !weighted || strings.Trim(q, "0.") != ""
		}
	}
	return false
}

// withoutSlash returns the relative URL of the page that u names with an additional slash at
// the end, or "" without such a page.
func withoutSlash(pages map[string]page, u *url.URL) string {
	name, slash := strings.CutSuffix(strings.TrimPrefix(u.Path, "/"), "/")
	if p, ok := pages["/"+name]; !slash || !ok || name == "" || p.contentType != contentTypes[".html"] {
		return ""
	}
	return (&url.URL{Path: "../" + name, RawQuery: u.RawQuery}).String()
}
