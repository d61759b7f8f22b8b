package inboxhttp

import (
	"net/http"
	"time"
)

// NewServer returns a server with the limits that every connection needs on the
// open internet, for a Handler whose MaxWait is maxWait and for whatever is
// served beside it. HTTP/2 is spoken with TLS, and without it for proxies.
func NewServer(handler http.Handler, maxWait time.Duration) *http.Server {
	s := &http.Server{
		Handler:           bounded(handler),
		ConnContext:       ConnContext,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      maxWait + 10*time.Second, // from the end of the header on
		IdleTimeout:       75 * time.Second,         // longer than proxies keep a connection
		MaxHeaderBytes:    16<<10 - 4<<10,           // net/http adds 4 KiB
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100}, // each is an answer that may be on its way
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}

// bodyTimeout is how long a body may take to arrive.
const bodyTimeout = 10 * time.Second

// bounded sees to the bodies of all requests, whether or not a handler reads them.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// What nobody reads net/http throws away itself, and waits for it. An error
			// means that there are no deadlines here.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
			// Its length may be another than net/http takes it for, and what follows may
			// have been smuggled in. Of a body in chunks it does not say whether there was
			// a Content-Length too (RFC 9112, 6.3), and over HTTP/1.0 not that there were
			// chunks (6.1).
			w.Header()["Connection"] = []string{"close"}
		}
		next.ServeHTTP(w, r)
	})
}
