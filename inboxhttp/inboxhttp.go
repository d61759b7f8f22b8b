// Package inboxhttp speaks the inbox protocol (docs/protocol.md) over HTTP: one
// file per verb, and errors.go for everything that can go wrong.
package inboxhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jub0bs/cors"

	"inbox"
	"inbox/internal/park"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

// Config says how to speak. Zero fields mean the documented default.
type Config struct {
	Store  inbox.Store   // required
	Pepper *inbox.Pepper // required

	MaxBody      int           // bytes of a message; 64 KiB
	MaxWait      time.Duration // of a receiver; 25 s
	Capacity     int           // messages in one answer; 100
	AllowOrigins []string      // of pages that may ask; all
	Log          *slog.Logger  // what a store could not do; none
}

// Handler serves one URL, whatever its path. It is safe for concurrent use.
// Connections should come from a server whose ConnContext is [ConnContext], and
// which limits the time for headers, bodies and answers, as that of [NewServer] does.
type Handler struct {
	Config
	cors      http.Handler
	anyOrigin bool
	draining  chan struct{}
	drainOnce sync.Once
	lastFault atomic.Int64 // when one of the store was logged, in Unix seconds

	lot     *park.Lot // connections that wait without net/http
	back    *listener // takes them back; nil without a Listener
	headers shared    // of their answers

	unparked atomic.Int64 // long polls that may be parked soon

	opened, unopened socket.Options
}

// New checks the configuration.
func New(c Config) (*Handler, error) {
	if c.Store == nil || c.Pepper == nil {
		return nil, errors.New("inboxhttp: a Store and a Pepper are required")
	}
	if c.MaxBody == 0 {
		c.MaxBody = 64 << 10
	}
	if c.MaxWait == 0 {
		c.MaxWait = 25 * time.Second
	}
	if c.Capacity == 0 {
		c.Capacity = 100
	}
	if len(c.AllowOrigins) == 0 {
		c.AllowOrigins = []string{"*"}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{Config: c, draining: make(chan struct{}), lot: park.NewLot(c.Log)}
	h.opened, h.unopened = socketOptions(c.MaxBody)
	mw, err := cors.NewMiddleware(cors.Config{
		Origins:         c.AllowOrigins,
		Methods:         []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		RequestHeaders:  []string{"Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"},
		ResponseHeaders: []string{"X-From", "Inbox-Cursor", "Inbox-Reset", "Idempotency-Replayed", "Retry-After"},
		MaxAgeInSeconds: 7200,
	})
	if err != nil {
		return nil, fmt.Errorf("allowed origins: %w", err)
	}
	h.cors = mw.Wrap(http.HandlerFunc(h.serve))
	h.anyOrigin = slices.Contains(c.AllowOrigins, "*")
	return h, nil
}

// Drain ends the receivers that wait, and those that come, with ErrDraining.
// Sends go on. There is no way back.
func (h *Handler) Drain() {
	h.drainOnce.Do(func() { close(h.draining) })
	h.lot.WakeAll()
}

// Wait returns when no connection waits any more that the server does not know
// of, or when ctx ends. Call it after Drain and http.Server.Shutdown.
func (h *Handler) Wait(ctx context.Context) error {
	if err := h.lot.Wait(ctx); err != nil {
		return err
	}
	return h.lot.Close()
}

// Draining reports whether Drain was called.
func (h *Handler) Draining() bool {
	select {
	case <-h.draining:
		return true
	default:
		return false
	}
}

// What every answer carries: bodies come from strangers and are meant for one
// reader, once.
var (
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
	nothingRuns = []string{"default-src 'none'; sandbox"}
)

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = noSniff
	header["Content-Security-Policy"] = nothingRuns
	if _, ok := r.Header["Origin"]; !ok && h.anyOrigin {
		h.serve(w, r) // there is nothing to allow
		return
	}
	h.cors.ServeHTTP(w, r)
}

// serve is everything but preflights.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	if err := h.verb(w, r); err != nil {
		h.fail(w, err)
	}
}

const methods = "GET, POST, DELETE, OPTIONS"

func (h *Handler) verb(w http.ResponseWriter, r *http.Request) error {
	if err := checkOrigin(w, r); err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet:
		return h.receive(w, r)
	case http.MethodPost:
		return h.send(w, r)
	case http.MethodDelete:
		return h.close(w, r)
	case http.MethodOptions:
		w.Header().Set("Allow", methods)
		w.WriteHeader(http.StatusNoContent)
		return nil
	default: // HEAD too: it must never take a message
		w.Header().Set("Allow", methods)
		return problem.MethodNotAllowed
	}
}

// checkOrigin refuses what a page of another site can cause without being
// allowed to: a GET takes messages, and a browser may add credentials that it
// was once given.
func checkOrigin(w http.ResponseWriter, r *http.Request) error {
	switch r.Header.Get("Sec-Fetch-Mode") {
	case "navigate", "no-cors":
		return problem.ForbiddenNavigation
	}
	origin := r.Header.Get("Origin")
	if origin == "" || w.Header().Get("Access-Control-Allow-Origin") != "" {
		return nil
	}
	// The server's own pages need no permission. A proxy may have changed Host,
	// so a browser's own word counts too: pages cannot forge it.
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		return nil
	}
	if u, err := url.Parse(origin); err == nil && u.Host == r.Host && u.Host != "" {
		return nil
	}
	return problem.ForbiddenOrigin
}
