package main

import (
	"io"
	"net/http"
	"strings"

	"inbox/inboxhttp"
	"inbox/web"
)

// routes is every URL of the server. base ends with a slash; stored tells whether
// inboxes can be used.
func routes(base string, h *inboxhttp.Handler, stored func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(base+"inbox", h)
	mux.HandleFunc(base+"healthz", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, http.StatusOK, "ok")
	})
	mux.HandleFunc(base+"readyz", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case h.Draining():
			answer(w, r, http.StatusServiceUnavailable, "draining")
		case !stored():
			answer(w, r, http.StatusServiceUnavailable, "store-unavailable")
		default:
			answer(w, r, http.StatusOK, "ok")
		}
	})
	mux.Handle(base, http.StripPrefix(strings.TrimSuffix(base, "/"), web.Handler()))
	return mux
}

// answer is a line of text for whoever watches the server.
func answer(w http.ResponseWriter, r *http.Request, status int, text string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		status, text = http.StatusMethodNotAllowed, "only GET and HEAD"
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n")
}
