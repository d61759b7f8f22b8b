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
		Handler:           handler,
		ConnContext:       ConnContext,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      maxWait + 10*time.Second, // from the end of the header on
		IdleTimeout:       75 * time.Second,         // longer than proxies keep a connection
		MaxHeaderBytes:    16<<10 - 4<<10,           // net/http adds 4 KiB
		Protocols:         new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}
