package main

import (
	"io"
	"net/http"
	"strings"

	"inbox/inboxhttp"
	"inbox/web"
)

// routes is every URL of the server. base ends with a slash.
func routes(base string, h *inboxhttp.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(base+"inbox", h)
	mux.HandleFunc("GET "+base+"healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET "+base+"readyz", func(w http.ResponseWriter, _ *http.Request) {
		if h.Draining() {
			answer(w, http.StatusServiceUnavailable, "draining")
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.Handle(base, http.StripPrefix(strings.TrimSuffix(base, "/"), web.Handler()))
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n")
}
