// Package server holds what every connection of a server has in common, whatever is
// said on it: the listener and its reserve of descriptors, TLS, the limits of net/http,
// where connections wait, and an ordered end.
package server

import (
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"inbox/internal/meter"
	"inbox/internal/park"
)

// Config says how to serve.
type Config struct {
	TLS     *tls.Config   // nil: without
	MaxWait time.Duration // of a long poll
	Log     *slog.Logger  // what an operator has to know

	// Beneath, if not nil, wraps each connection beneath TLS.
	Beneath  func(net.Conn) net.Conn
	Refusals *meter.Refusals // of connections, or nil
}

// A Server serves HTTP/1.1 and HTTP/2 on one listener. Its Lot is for all handlers:
// connections over HTTP/1.1 wait there, with or without TLS, and come back to net/http
// with their next request.
type Server struct {
	HTTP *http.Server
	Lot  *park.Lot

	config   Config
	listener *listener
	conns    chan accepted // from the listener, and handed back
	closed   chan struct{} // when the listener is
	once     sync.Once
}

// New returns a server that does not serve yet.
func New(c Config) *Server {
	s := &Server{HTTP: limited(c.MaxWait), Lot: park.NewLot(c.Log), config: c, conns: make(chan accepted), closed: make(chan struct{})}
	if c.TLS != nil {
		s.config.TLS = c.TLS.Clone()
		s.config.TLS.NextProtos = []string{"h2", "http/1.1"}
	}
	s.HTTP.ErrorLog = log.New(&serverLog{log: c.Log}, "", 0)
	s.Lot.TakeBack(s.handBack)
	return s
}

// Listen takes ownership of ln. If its connections are the kernel's, they wait without
// a goroutine each.
func (s *Server) Listen(ln net.Listener) error {
	if _, ok := ln.(syscall.Conn); ok {
		if err := s.Lot.Start(); err != nil {
			ln.Close()
			return err
		}
	}
	s.listener = &listener{Listener: Reserve(ln, s.config.Log), s: s}
	go s.listener.accept()
	return nil
}

// Handle sets the handler of all requests. Call it once, before Serve.
func (s *Server) Handle(h http.Handler) { s.HTTP.Handler = bounded(h) }

// Serve answers the requests of all connections that the listener accepts, until End or
// Close. Then it returns http.ErrServerClosed. Call it after Listen and Handle.
func (s *Server) Serve() error { return s.HTTP.Serve(s.listener) }

// An Ending says how a server ends in order.
type Ending struct {
	Within time.Duration       // all of it; what is left then is cut off
	Tell   func()              // ends the waits of clients who come back by themselves
	Notice time.Duration       // the server goes on, so that whoever spreads the load sees that it is not ready
	Last   func(time.Duration) // ends the other waits, spread over that time
}

// End ends the server: it tells those who wait to leave, closes the listener, and blocks
// until all requests are answered and no connection waits.
func (s *Server) End(e Ending) {
	s.config.Log.Info("draining", "at_most", e.Within)
	// The answers to all who wait are garbage at once. Collecting it earlier costs a
	// few milliseconds and keeps a full server from growing while it stops.
	defer debug.SetGCPercent(debug.SetGCPercent(40))
	deadline, cancel := context.WithTimeout(context.Background(), e.Within)
	defer cancel()
	e.Tell()
	select {
	case <-time.After(e.Notice):
	case <-deadline.Done():
	}
	e.Last(e.Within * 6 / 10)
	err := s.HTTP.Shutdown(deadline)
	if err == nil {
		err = s.Wait(deadline)
	}
	if err != nil {
		s.config.Log.Warn("requests were cut off", "error", err)
		s.Close()
	}
}

// Close closes the listener and all connections that do not wait.
func (s *Server) Close() error { return s.HTTP.Close() }

// Wait blocks until no connection waits any more, or until ctx ends. Call it after
// Close, if those have to end in order all the same.
func (s *Server) Wait(ctx context.Context) error {
	if err := s.Lot.Wait(ctx); err != nil {
		return err
	}
	return s.Lot.Close()
}
