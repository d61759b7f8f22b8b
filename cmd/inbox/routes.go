package main

import (
	"io"
	"net/http"
	"strings"

	"inbox/inboxhttp"
	"inbox/internal/clientaddr"
	"inbox/internal/limit"
	"inbox/peerjs"
	"inbox/web"
)

// routes returns the handler for every URL of the server. base ends with a slash. p is
// nil without PeerJS. stored reports whether inboxes can be used. Health checks are not
// limited.
func routes(base string, h *inboxhttp.Handler, p *peerjs.Handler, stored func() bool, clients *limit.Clients) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(base+"inbox", h)
	mux.HandleFunc(base+"ice", h.ServeICE)
	mux.HandleFunc(base+"outcome", h.ServeOutcome)
	mux.HandleFunc(base+"code", h.ServeCode)
	mux.HandleFunc(base+"healthz", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, http.StatusOK, "ok")
	})
	mux.Handle(base+"address", limited(clients, http.HandlerFunc(address)))
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
	pages := limited(clients, http.StripPrefix(strings.TrimSuffix(base, "/"), web.Handler()))
	mux.Handle(base, pages)
	if base != "/" {
		mux.Handle("/", limited(clients, web.Missing(base)))
	}
	if p != nil {
		peerjsRoutes(mux, base, p, pages)
	}
	return mux
}

// peerjsRoutes adds the URLs of PeerJS. With any key of a client, they do not collide
// with the routes above, since they have one more path segment.
func peerjsRoutes(mux *http.ServeMux, base string, p *peerjs.Handler, pages http.Handler) {
	mux.HandleFunc(base+"peerjs", p.Socket)
	for _, end := range []string{"", "/{$}"} {
		mux.HandleFunc(base+"{key}/id"+end, p.NewID)
		mux.HandleFunc(base+"{key}/peers"+end, p.Peers)
	}
	// The root page is for people. A client that wants JSON gets what a PeerJS server
	// returns there.
	orInfo := func(otherwise http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Vary", "Accept")
			if strings.Contains(r.Header.Get("Accept"), "application/json") {
				p.Info(w, r)
				return
			}
			otherwise.ServeHTTP(w, r)
		}
	}
	mux.Handle(base+"{$}", orInfo(pages))
	if base != "/" {
		mux.Handle(strings.TrimSuffix(base, "/"), orInfo(http.RedirectHandler(base, http.StatusPermanentRedirect)))
	}
}

// address returns a client's own address, for /test: behind a VPN or a proxy, requests
// and calls may take different paths.
func address(w http.ResponseWriter, r *http.Request) {
	if a := clientaddr.Of(r.RemoteAddr); a.IsValid() {
		answer(w, r, http.StatusOK, a.String())
		return
	}
	answer(w, r, http.StatusNotFound, "unknown")
}

// answer writes one line of text for a monitoring client.
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
