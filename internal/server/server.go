// Package server accepts the connections of an inbox server and does what all of them
// have in common, whatever protocol they speak: listeners with a reserve of descriptors,
// TLS, client addresses behind proxies, the limits of net/http, parking, and an orderly
// shutdown.
//
// Create a [Server] with [New], pass listeners to Listen and a handler to Handle, and
// call Serve. End shuts it down.
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

// Config configures a [Server].
type Config struct {
	TLS     *tls.Config   // nil for no TLS
	MaxWait time.Duration // longest wait of a long poll
	Log     *slog.Logger  // messages for the operator

	// Beneath, if not nil, wraps each connection beneath TLS.
	Beneath func(net.Conn) net.Conn

	// MaxConnections bounds the open connections; 0 for as many as descriptors allow.
	// Further ones wait in the kernel's backlog.
	MaxConnections int

	Clients  *limit.Clients // limits per client address; nil for none
	Proxies  Proxies
	Other    *Other          // nil for HTTP only
	Refusals *meter.Refusals // counts refused connections; may be nil
}

// A Server serves HTTP/1.1 and HTTP/2 on its listeners. Request.RemoteAddr is the
// client's address, even behind a trusted proxy. All handlers use its Lot: HTTP/1.1
// connections, with or without TLS, wait there and return to net/http with their next
// request.
type Server struct {
	HTTP *http.Server
	Lot  *park.Lot

	config   Config
	listener *listener
	open     atomic.Int64        // connections open now
	accepted atomic.Int64        // connections accepted so far
	refused  throttle.EachSecond // throttles the warning about proxies without the PROXY protocol
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
		again := s.trackHeaders(conn)
		if h, ok := again.(*heading); ok && !s.config.Proxies.Trusted.Has(client.Addr()) {
			h.client = client.Addr()
		}
		return again
	})
	s.Lot.TakeBack(func(conn net.Conn) { s.listener.put(conn, nil) })
	return s
}

// Listen takes ownership of the listeners, which may be of different kinds, and starts
// accepting. Connections of the kernel can then wait without a goroutine each.
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

// Serve serves all connections until End or Close, and then returns http.ErrServerClosed.
// Call it after Listen and Handle.
func (s *Server) Serve() error { return s.HTTP.Serve(s.listener) }

// An Ending describes an orderly shutdown.
type Ending struct {
	Within time.Duration       // total time limit; then everything left is cut off
	Begin  func()              // ends the waits of clients that reconnect by themselves
	Notice time.Duration       // how long to keep serving, so that load balancers notice that the server is not ready
	Last   func(time.Duration) // ends the other waits, spread over the given time
}

// End shuts the server down. It ends the waits, closes the listeners, and blocks until
// all requests are answered and no connection waits, at most for e.Within.
func (s *Server) End(e Ending) {
	s.config.Log.Info("draining", "at_most", e.Within)
	// Answering all waits at once creates garbage. Collecting it earlier costs a few
	// milliseconds and keeps a full server from growing while it stops.
	defer debug.SetGCPercent(debug.SetGCPercent(40))
	deadline, cancel := context.WithTimeout(context.Background(), e.Within)
	defer cancel()
	e.Begin()
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

// Close closes the listeners and all connections except parked ones.
func (s *Server) Close() error { return s.HTTP.Close() }

// Wait blocks until no connection is parked or ctx ends. After Close, it lets parked
// connections end in order.
func (s *Server) Wait(ctx context.Context) error {
	if err := s.Lot.Wait(ctx); err != nil {
		return err
	}
	return s.Lot.Close()
}
