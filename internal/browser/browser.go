// Package browser distinguishes browsers from programs by their requests, and decides which
// pages may use a server. It implements the origin check and CORS for all protocols.
package browser

import (
	"iter"
	"net/http"
	"strconv"
	"strings"
)

// IsNavigation reports whether a browser sent a request for itself or for an element of a
// page: a typed address, a link, a form, a frame, an image, a script, a beacon or a
// prefetch. Inboxes refuse such requests, because no script made them. Over plain HTTP,
// where browsers send no Sec-Fetch headers, navigations are recognized by the page that
// they accept.
func IsNavigation(h http.Header) bool {
	for _, mode := range h["Sec-Fetch-Mode"] {
		switch mode {
		case "", "cors", "same-origin", "websocket":
		default:
			return true
		}
	}
	for _, dest := range h["Sec-Fetch-Dest"] {
		switch dest {
		case "", "empty", "websocket":
		default:
			return true
		}
	}
	return len(h["Sec-Fetch-User"]) > 0 || len(h["Upgrade-Insecure-Requests"]) > 0 || isPrefetch(h) || wantsPage(h)
}

// MayHaveSent reports whether a browser may have sent a request. It checks several
// headers, because no header is on every request: over plain HTTP, a script element's
// request has neither Origin nor Sec-Fetch headers.
func MayHaveSent(h http.Header) bool {
	for name := range h {
		switch name {
		case "Origin", "Referer", "Cookie", "Accept-Language", "Upgrade-Insecure-Requests",
			"Access-Control-Request-Method", "Access-Control-Request-Headers", "Dnt", "Save-Data":
			return true
		}
		if strings.HasPrefix(name, "Sec-") && !strings.HasPrefix(name, "Sec-Websocket-") {
			return true
		}
	}
	return isPrefetch(h) || wantsPage(h) || strings.HasPrefix(first(h, "User-Agent"), "Mozilla/")
}

// isPrefetch checks the header names of Chromium, Firefox and the standard.
func isPrefetch(h http.Header) bool {
	return len(h["Sec-Purpose"]) > 0 || len(h["Purpose"]) > 0 || len(h["X-Moz"]) > 0
}

// wantsPage reports whether Accept names a page, alone or among other types.
func wantsPage(h http.Header) bool {
	for media := range Accepted(h) {
		if media == "text/html" || media == "application/xhtml+xml" {
			return true
		}
	}
	return false
}

func first(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Accepted yields the media types that Accept names with a quality above 0, in order and
// in lower case.
func Accepted(h http.Header) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h["Accept"] {
			for part := range strings.SplitSeq(line, ",") {
				media, params, _ := strings.Cut(part, ";")
				if !refused(params) && !yield(strings.ToLower(strings.TrimSpace(media))) {
					return
				}
			}
		}
	}
}

// refused reports whether the parameters of a media range contain a quality of 0.
func refused(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return err == nil && q == 0
		}
	}
	return false
}
