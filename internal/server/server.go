// Package server holds what every connection of a server has in common, whatever is
// said on it: the listener and its reserve of descriptors, TLS, the limits of net/http,
// where connections wait, and an ordered end.
package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"inbox/internal/park"
)

// Config says how to serve.
type Config struct {
	TLS     *tls.Config   // nil: without
	MaxWait time.Duration // of a long poll
	Log     *slog.Logger  // what an operator has to know

	// Beneath, if not nil, wraps each connection beneath TLS.
	Beneath func(net.Conn) net.Conn
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

// Serve answers the requests of all connections that are accepted, until Shutdown or
// Close. Then it returns http.ErrServerClosed. Call it after Listen.
func (s *Server) Serve(h http.Handler) error {
	s.HTTP.Handler = bounded(h)
	return s.HTTP.Serve(s.listener)
}

// Shutdown closes the listener and blocks until all requests are answered and no
// connection waits, or until ctx ends. Whoever waits has to be told to leave before.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.HTTP.Shutdown(ctx); err != nil {
		return err
	}
	return s.Wait(ctx)
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
