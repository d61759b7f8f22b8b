// Package inboxhttp speaks the inbox protocol (docs/protocol.md) over HTTP: one
// file per verb, and errors.go for everything that can go wrong.
package inboxhttp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"inbox"
	"inbox/internal/browser"
	"inbox/internal/clientaddr"
	"inbox/internal/flight"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/internal/outcome"
	"inbox/internal/park"
	"inbox/internal/problem"
	"inbox/internal/socket"
	"inbox/internal/throttle"
)

// Config says how to speak. Zero fields mean the documented default.
type Config struct {
	Store         inbox.Store         // required
	Authenticator inbox.Authenticator // required

	MaxBody      int             // bytes of a message; 64 KiB
	MaxWait      time.Duration   // of a receiver; 25 s
	MaxMessages  int             // in one answer; 100
	InFlight     *flight.Budget  // of bodies and answers that are on their way; 256 MiB
	AllowOrigins []string        // of pages that may ask; all
	Log          *slog.Logger    // failures of the store, refused pages; none
	Lot          *park.Lot       // of the server: connections wait there; one that watches none
	Clients      *limit.Clients  // of one address; no limits
	Refusals     *meter.Refusals // of requests, frames and sockets; not counted
	Meter        *meter.Meter    // counts requests and receivers; not counted

	// ICEServers returns the servers that a client can use, for a peer with this id. It
	// must be safe for concurrent use. None.
	ICEServers func(r *http.Request, id string) []ICEServer
	ICEPublic  bool            // tells them to pages without a password too
	Outcomes   *outcome.Counts // counts how calls went; nothing does
}

// Handler serves the URL of inboxes, whatever its path, and has methods for the two
// others of the protocol. It is safe for concurrent use.
// Connections should come from a server whose ConnContext is [park.ConnContext], and
// which limits the time for headers, bodies and answers, as internal/server does.
type Handler struct {
	Config
	pages     *browser.Pages
	draining  chan struct{}
	drainOnce sync.Once

	// What is logged at most once a second, since all peers meet the same faults.
	storeFaults, removeFaults throttle.EachSecond

	headers shared // of answers on parked connections

	unparked atomic.Int64 // long polls that may be parked soon

	opened, unopened socket.Options

	inboxes, servers, reports endpoint

	rare *limit.Table // guests and reporters by address, and reports by id
}

// A verb answers one method, or returns why not.
type verb = func(http.ResponseWriter, *http.Request) error

// An endpoint is one URL of the protocol: what answers each of its methods but OPTIONS,
// and the list of all.
type endpoint struct {
	verbs map[string]verb
	allow string
	waits bool // for messages, or it is a stream or a socket
}

// New checks the configuration.
func New(c Config) (*Handler, error) {
	if c.Store == nil || c.Authenticator == nil {
		return nil, errors.New("inboxhttp: a Store and an Authenticator are required")
	}
	if c.MaxBody == 0 {
		c.MaxBody = 64 << 10
	}
	if c.MaxWait == 0 {
		c.MaxWait = 25 * time.Second
	}
	if c.MaxMessages == 0 {
		c.MaxMessages = 100
	}
	if c.InFlight == nil {
		c.InFlight = flight.New(0)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Lot == nil {
		c.Lot = park.NewLot(c.Log)
	}
	h := &Handler{Config: c, draining: make(chan struct{})}
	h.opened, h.unopened = socketOptions(c)
	h.inboxes = endpoint{map[string]verb{http.MethodGet: h.receive, http.MethodPost: h.send, http.MethodDelete: h.close}, "GET, POST, DELETE, OPTIONS", true}
	h.servers = endpoint{map[string]verb{http.MethodGet: h.ice}, "GET, OPTIONS", false}
	h.reports = endpoint{map[string]verb{http.MethodPost: h.outcome}, "POST, OPTIONS", false}
	h.rare = limit.NewTable(rareRows, guestRate, reportRate, reporterRate)
	var err error
	h.pages, err = browser.New(browser.Config{
		Origins: c.AllowOrigins, Methods: "GET, POST, DELETE", Log: c.Log,
		// The star is for what proxies and tracing add. A browser takes it, since there
		// are no credentials.
		Expose: "X-From, Inbox-Cursor, Inbox-Reset, Idempotency-Replayed, Retry-After, *",
	})
	if err != nil {
		return nil, fmt.Errorf("allowed origins: %w", err)
	}
	return h, nil
}

// CheckOrigins says which of Config.AllowOrigins is wrong, and how.
func CheckOrigins(origins []string) error {
	_, err := browser.New(browser.Config{Origins: origins})
	return err
}

// Drain ends the receivers that wait, and those that come, with ErrDraining.
// Sends go on. There is no way back.
func (h *Handler) Drain() {
	h.drainOnce.Do(func() { close(h.draining) })
	h.Lot.WakeAll()
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

// ServeHTTP serves inboxes.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.inboxes) }

// ServeICE serves the list of STUN and TURN servers.
func (h *Handler) ServeICE(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.servers) }

// ServeOutcome takes reports of how calls went.
func (h *Handler) ServeOutcome(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.reports) }

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, to endpoint) {
	header := w.Header()
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = noSniff
	header["Content-Security-Policy"] = nothingRuns
	client := clientaddr.Of(r.RemoteAddr)
	if r.Method == http.MethodOptions && h.Clients.Frame(client) != nil {
		panic(http.ErrAbortHandler) // no browser asks for so many
	}
	if h.pages.CORS(w, r) {
		h.countPreflight(header, client)
		return
	}
	err := h.Clients.Request(client)
	switch {
	case err == nil:
		err = h.verb(w, r, to)
	case !h.Clients.Listens(client):
		panic(http.ErrAbortHandler)
	case to.waits && opensLater(r):
		err = h.refuseSocket(w, r, err)
	}
	if err != nil {
		t := meter.HTTP
		if to.waits {
			t = h.transport(r)
		}
		h.countFailure(t, h.fail(w, err, !browser.MayHaveSent(r.Header)), client)
	}
}

func (h *Handler) verb(w http.ResponseWriter, r *http.Request, to endpoint) error {
	if browser.IsNavigation(r.Header) {
		return problem.ForbiddenNavigation
	}
	if !h.pages.May(r) {
		return problem.ForbiddenOrigin
	}
	if answer := to.verbs[r.Method]; answer != nil {
		return answer(w, r)
	}
	w.Header().Set("Allow", to.allow)
	if r.Method == http.MethodOptions {
		h.answer(w, meter.HTTP, http.StatusNoContent)
		return nil
	}
	return problem.MethodNotAllowed // HEAD too: it must never take a message
}
