// Package inboxhttp serves the inbox protocol (docs/protocol.md) over HTTP: polls, long
// polls, event streams and WebSockets.
//
// [New] returns a [Handler], which is the http.Handler of /inbox; its ServeICE and
// ServeOutcome methods serve the two other URLs. Each verb and transport has its own
// file; receive.go dispatches a GET to poll.go, stream.go or socket.go. Every error
// passes through errors.go. A request that waits runs an [inbox.Session], either in its
// handler's goroutine or, where a [park.Lot] can take the connection, without one
// (drive.go).
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

// Config configures a [Handler]. A zero field has the default that its comment states.
type Config struct {
	Store         inbox.Store         // required
	Authenticator inbox.Authenticator // required

	MaxBody      int             // longest message, in bytes; default 64 KiB
	MaxWait      time.Duration   // longest wait of a receiver; default 25 s
	MaxMessages  int             // most messages in one answer; default 100
	InFlight     *flight.Budget  // bounds bodies and answers in flight; default 256 MiB
	AllowOrigins []string        // origins of pages that may use the server; default all
	Log          *slog.Logger    // logs store failures and refused origins; default discard
	Lot          *park.Lot       // where connections wait; by default one that parks none
	Clients      *limit.Clients  // limits per client address; nil means none
	Refusals     *meter.Refusals // counts refusals by reason; nil counts nothing
	Meter        *meter.Meter    // counts requests and receivers; nil counts nothing

	// ICEServers returns the STUN and TURN servers that the peer with this id can use. It
	// must be safe for concurrent use. If it is nil, GET /ice returns an empty list.
	ICEServers func(r *http.Request, id string) []ICEServer
	ICEPublic  bool            // allowed pages need no password for GET /ice
	Outcomes   *outcome.Counts // counts reports of how calls went; nil counts nothing
}

// A Handler serves the inbox protocol. ServeHTTP serves /inbox, whatever its path is;
// ServeICE and ServeOutcome serve the two other URLs. All methods are safe for concurrent
// use.
//
// Connections should come from a server whose ConnContext is [park.ConnContext] and which
// sets deadlines for headers, bodies and answers, as internal/server does.
type Handler struct {
	Config
	pages     *browser.Pages
	draining  chan struct{}
	drainOnce sync.Once

	// These throttle the log to one line a second: when the store fails, every request
	// fails.
	storeFaults, removeFaults throttle.EachSecond

	headers shared // common header lines of answers on parked connections

	unparked atomic.Int64 // long polls that wait in their handlers before they park

	opened, unopened socket.Options

	inboxes, servers, reports, invitations endpoint

	rare  *limit.Table // guests and reporters by address, reports by id
	codes codeLimits
}

// A verb handles one method. Its caller answers with the error that it returns.
type verb = func(http.ResponseWriter, *http.Request) error

// An endpoint is one URL of the protocol: the handler of each method except OPTIONS, and
// the value of the Allow header.
type endpoint struct {
	verbs map[string]verb
	allow string
	waits bool // a GET may wait
}

// New returns a Handler. It fails if a required field of c is missing or an origin is
// malformed.
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
	h.inboxes = endpoint{map[string]verb{http.MethodGet: h.receive, http.MethodPost: h.send, http.MethodPut: h.join, http.MethodDelete: h.close}, "GET, POST, PUT, DELETE, OPTIONS", true}
	h.servers = endpoint{map[string]verb{http.MethodGet: h.ice}, "GET, OPTIONS", false}
	h.reports = endpoint{map[string]verb{http.MethodPost: h.outcome}, "POST, OPTIONS", false}
	h.invitations = endpoint{map[string]verb{http.MethodPost: h.redeem}, "POST, OPTIONS", false}
	h.rare = limit.NewTable(rareRows, guestRate, reportRate, reporterRate)
	h.codes = newCodeLimits()
	var err error
	h.pages, err = browser.New(browser.Config{
		Origins: c.AllowOrigins, Methods: "GET, POST, PUT, DELETE", Log: c.Log,
		// "*" covers the headers that proxies and tracing tools add. Browsers honor it
		// because requests carry no credentials.
		Expose: "X-From, Inbox-Event, Inbox-Cursor, Inbox-Reset, Idempotency-Replayed, Retry-After, *",
	})
	if err != nil {
		return nil, fmt.Errorf("allowed origins: %w", err)
	}
	return h, nil
}

// CheckOrigins validates a value for Config.AllowOrigins.
func CheckOrigins(origins []string) error {
	_, err := browser.New(browser.Config{Origins: origins})
	return err
}

// Drain ends all receivers, present and future, with ErrDraining. Sends still work. It
// cannot be undone.
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

// These headers are on every answer: bodies come from strangers and are for one reader,
// once.
var (
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
	nothingRuns = []string{"default-src 'none'; sandbox"}
)

// ServeHTTP serves the inbox URL.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.inboxes) }

// ServeICE serves the list of STUN and TURN servers.
func (h *Handler) ServeICE(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.servers) }

// ServeOutcome receives reports of how calls went.
func (h *Handler) ServeOutcome(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.reports) }

// ServeCode redeems codes.
func (h *Handler) ServeCode(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.invitations) }

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, to endpoint) {
	header := w.Header()
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = noSniff
	header["Content-Security-Policy"] = nothingRuns
	client := clientaddr.Of(r.RemoteAddr)
	if r.Method == http.MethodOptions && h.Clients.Frame(client) != nil {
		panic(http.ErrAbortHandler) // far more preflights than any browser sends
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
	case to.waits && opensByFrame(r):
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
	return problem.MethodNotAllowed // HEAD too, which must never take a message
}
