// Package gate admits requests of protocols from other projects, whose clients do not
// understand our errors. It implements what these protocols share: the origin check, CORS,
// the limits per address, the handshake, and draining.
package gate

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"inbox/internal/browser"
	"inbox/internal/clientaddr"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/internal/park"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

// A Gate admits the requests of one protocol. Set its fields before the first request. Its
// methods are safe for concurrent use.
type Gate struct {
	Transport meter.Transport
	Who       string          // the clients, as in "Clients of PeerJS"
	Pages     *browser.Pages  // required
	Lot       *park.Lot       // required
	Clients   *limit.Clients  // nil: no limits
	Refusals  *meter.Refusals // nil: not counted
	Meter     *meter.Meter    // nil: not counted

	draining atomic.Pointer[Drain]
}

// admitWithin bounds how long a socket waits for an address that has connected too often.
// Then the socket ends.
const admitWithin = 10 * time.Second

// Admit refuses pages that are not allowed, lets the others read the answer, keeps the
// answer out of caches, and calls next.
func (g *Gate) Admit(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.Method == http.MethodOptions && g.Clients.Frame(clientaddr.Of(r.RemoteAddr)) != nil:
		panic(http.ErrAbortHandler) // no browser sends so many preflights
	case g.Pages.CORS(w, r): // a preflight, which is answered
	case !g.Pages.May(r):
		g.Meter.Request(g.Transport, http.StatusForbidden)
		g.Refusals.Add(meter.ForbiddenOrigin, clientaddr.Of(r.RemoteAddr))
		http.Error(w, "Pages of this origin may not use this server.", http.StatusForbidden)
	default:
		next(w, r)
	}
}

// Limited answers a client that has made too many requests, and reports whether it did.
func (g *Gate) Limited(w http.ResponseWriter, client netip.Addr) bool {
	err := g.Clients.Request(client)
	if err == nil {
		return false
	}
	if !g.Clients.Listens(client) {
		panic(http.ErrAbortHandler)
	}
	g.Meter.Request(g.Transport, http.StatusTooManyRequests)
	p, _ := errors.AsType[problem.Problem](err)
	w.Header().Set("Retry-After", strconv.Itoa(p.Seconds()))
	http.Error(w, p.Detail, p.Status)
	return true
}

// Read calls next for a GET or a HEAD that is within the limits, and answers the others.
func (g *Gate) Read(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	g.Admit(w, r, func(w http.ResponseWriter, r *http.Request) {
		if g.Limited(w, clientaddr.Of(r.RemoteAddr)) {
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "This URL supports only GET and HEAD.", http.StatusMethodNotAllowed)
			return
		}
		next(w, r)
	})
}

// Upgrade turns a request that Admit has accepted into a socket, or answers it. begin returns
// the protocol; it is called once the request can become a socket.
func (g *Gate) Upgrade(w http.ResponseWriter, r *http.Request, o *socket.Options, begin func() socket.Protocol) {
	client := clientaddr.Of(r.RemoteAddr)
	refuse := func(text string, status int) { // a socket counts when it has begun
		if !g.Limited(w, client) {
			http.Error(w, text, status)
		}
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		refuse(g.Who+" connect here.", http.StatusMethodNotAllowed)
		return
	}
	if !socket.IsUpgrade(r.Header) {
		w.Header().Set("Upgrade", "websocket")
		refuse(g.Who+" connect here, by WebSocket.", http.StatusUpgradeRequired)
		return
	}
	if err := socket.Check(w, r, o); err != nil {
		refused, _ := errors.AsType[socket.HandshakeError](err)
		refuse(refused.Detail, refused.Status)
		return
	}
	if g.Draining() != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "The server is about to stop.", http.StatusServiceUnavailable)
		return
	}
	// An error means that the connection is gone.
	if _, err := socket.Accept(w, r, g.Lot, o, begin()); err == nil {
		g.Meter.Request(g.Transport, http.StatusSwitchingProtocols)
	}
}

// Delay handles why, an error with a time to wait: it makes the socket look again after that
// time. If the client has waited too long since the socket began, or the gate is draining,
// Delay returns why, which ends the socket.
func (g *Gate) Delay(s *socket.Socket, since, now time.Time, why error) error {
	limited, _ := errors.AsType[problem.Problem](why)
	at := now.Add(limited.RetryAfter)
	if g.Draining() != nil || at.Sub(since) > admitWithin || !g.Clients.Listens(s.Client()) {
		return why
	}
	s.LookAgain(at)
	return nil
}

// A Drain is a period during which all sockets end.
type Drain struct {
	from time.Time
	over time.Duration
}

// Drain makes every socket end at a random moment within over, and refuses new ones.
// It cannot be undone. A second call can only shorten the time.
func (g *Gate) Drain(over time.Duration) {
	g.draining.Store(&Drain{time.Now(), over})
	g.Lot.WakeAll()
}

// Draining returns the last Drain, or nil.
func (g *Gate) Draining() *Drain { return g.draining.Load() }

// Moment returns the random time at which one socket ends.
func (d *Drain) Moment() time.Time {
	if d.over <= 0 {
		return d.from
	}
	return d.from.Add(rand.N(d.over))
}
