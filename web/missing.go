package web

import (
	_ "embed"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// missingPage is what a person reads at an address where nothing is. HOME stands for the
// relative URL of the first page, without its last slash.
//
//go:embed missing.html
var missingPage string

const missingText = "Nothing is here. There are three pages, /, /call and /files, and /inbox for programs.\n"

// Missing answers addresses outside of base, the path with a slash at its end below which
// everything else is served.
func Missing(base string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guard(w)
		missing(w, r, up(r.URL.Path)+base)
	})
}

// up is the relative URL of the root, as seen from a path.
func up(path string) string {
	return "." + strings.Repeat("/..", max(strings.Count(path, "/")-1, 0))
}

// missing answers a browser with a page, and a program with a line of text. The answer
// never repeats what was asked.
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

// withoutSlash is the relative URL of a page whose address was typed with a slash at its
// end, or "" if there is none.
func withoutSlash(pages map[string]page, u *url.URL) string {
	name, slash := strings.CutSuffix(strings.TrimPrefix(u.Path, "/"), "/")
	if p, ok := pages["/"+name]; !slash || !ok || name == "" || p.contentType != contentTypes[".html"] {
		return ""
	}
	return (&url.URL{Path: "../" + name, RawQuery: u.RawQuery}).String()
}
