// Package server holds what every connection of a server has in common, whatever is
// said on it: the listener and its reserve of descriptors, TLS, the limits of net/http,
// where connections wait, and an ordered end.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"inbox/internal/clientaddr"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/internal/park"
	"inbox/internal/throttle"
)

// Config says how to serve.
type Config struct {
	TLS     *tls.Config   // nil: without
	MaxWait time.Duration // of a long poll
	Log     *slog.Logger  // what an operator has to know

	// Beneath, if not nil, wraps each connection beneath TLS.
	Beneath func(net.Conn) net.Conn

	// MaxConnections is how many there are at a time; 0: as many as descriptors allow.
	// Others wait in the kernel's backlog.
	MaxConnections int

	Clients  *limit.Clients // what one address may do; no limits
	Proxies  Proxies
	Other    *Other          // nil: only HTTP is spoken
	Refusals *meter.Refusals // of connections, or nil
}

// A Server serves HTTP/1.1 and HTTP/2 on its listeners. Each request has the address of
// its client in RemoteAddr. Its Lot is for all handlers: connections over HTTP/1.1 wait
// there, with or without TLS, and come back to net/http with their next request.
type Server struct {
	HTTP *http.Server
	Lot  *park.Lot

	config   Config
	listener *listener
	open     atomic.Int64        // connections
	accepted atomic.Int64        // connections, ever
	refused  throttle.EachSecond // warnings that a proxy does not speak the PROXY protocol
}

// New returns a server that does not serve yet.
func New(c Config) *Server {
	s := &Server{HTTP: limited(c.MaxWait), Lot: park.NewLot(c.Log), config: c, listener: newListener()}
	s.config.Proxies.Header = cmp.Or(c.Proxies.Header, clientaddr.XForwardedFor)
	if c.TLS != nil {
		s.config.TLS = c.TLS.Clone()
		s.config.TLS.NextProtos = append([]string{"h2", "http/1.1"}, c.TLS.NextProtos...)
		if c.Other != nil {
			s.config.TLS.NextProtos = append(s.config.TLS.NextProtos, c.Other.ALPN...)
		}
	}
	s.HTTP.ErrorLog = log.New(&serverLog{log: c.Log}, "", 0)
	s.HTTP.ConnState = s.connState
	s.Lot.Ended(s.left)
	s.Lot.Left(s.config.Clients.Disconnect)
	s.Lot.Returns(func(conn net.Conn, client netip.AddrPort) net.Conn {
		again := s.heads(conn)
		if h, ok := again.(*heading); ok && !s.config.Proxies.Trusted.Has(client.Addr()) {
			h.client = client.Addr()
		}
		return again
	})
	s.Lot.TakeBack(func(conn net.Conn) { s.listener.put(conn, nil) })
	return s
}

// Listen takes ownership of all, which need not be of one kind. The kernel's connections
// wait without a goroutine each.
func (s *Server) Listen(all ...net.Listener) error {
	for _, ln := range all {
		s.listener.all = append(s.listener.all, reserve(ln, s.config.Log, s.config.MaxConnections, &s.open, s.config.Refusals))
	}
	if slices.ContainsFunc(all, func(ln net.Listener) bool { _, ok := ln.(syscall.Conn); return ok }) {
		if err := s.Lot.Start(); err != nil {
			s.listener.Close()
			return err
		}
	}
	for _, ln := range s.listener.all {
		go s.listener.accept(ln, s)
	}
	return nil
}

// Handle sets the handler of all requests. Call it once, before Serve.
func (s *Server) Handle(h http.Handler) { s.HTTP.Handler = s.headed(s.addressed(bounded(h))) }

// Serve answers the requests of all connections that the listeners accept, until End or
// Close. Then it returns http.ErrServerClosed. Call it after Listen and Handle.
func (s *Server) Serve() error { return s.HTTP.Serve(s.listener) }

// An Ending says how a server ends in order.
type Ending struct {
	Within time.Duration       // all of it; what is left then is cut off
	Tell   func()              // ends the waits of clients who come back by themselves
	Notice time.Duration       // the server goes on, so that whoever spreads the load sees that it is not ready
	Last   func(time.Duration) // ends the other waits, spread over that time
}

// End ends the server: it tells those who wait to leave, closes the listeners, and blocks
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

// Close closes the listeners and all connections that do not wait.
func (s *Server) Close() error { return s.HTTP.Close() }

// Wait blocks until no connection waits any more, or until ctx ends. Call it after
// Close, if those have to end in order all the same.
func (s *Server) Wait(ctx context.Context) error {
	if err := s.Lot.Wait(ctx); err != nil {
		return err
	}
	return s.Lot.Close()
}
