package server

import (
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// plainTimeout bounds a request over plain HTTP: it is short, and so is its answer.
	plainTimeout = 5 * time.Second
	// mostPlain bounds the connections over plain HTTP. Others wait in the kernel.
	mostPlain = 1000
)

// Plain returns a server that answers short requests over plain HTTP/1.1: redirects, and
// the challenges of an authority. No connection waits for another request.
func Plain(h http.Handler, l *slog.Logger) *http.Server {
	s := limited(0)
	s.Handler = bounded(h)
	s.ReadTimeout, s.ReadHeaderTimeout, s.WriteTimeout = plainTimeout, plainTimeout, plainTimeout
	s.Protocols.SetHTTP2(false)
	s.Protocols.SetUnencryptedHTTP2(false)
	s.ErrorLog = log.New(&serverLog{log: l}, "", 0)
	s.SetKeepAlivesEnabled(false)
	return s
}

// Bounded returns a listener for Plain, which leaves the reserve of descriptors alone.
func Bounded(ln net.Listener, log *slog.Logger) net.Listener {
	return netutil.LimitListener(Reserve(ln, log), mostPlain)
}
