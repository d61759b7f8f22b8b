// Package gate admits the requests of protocols that other projects have designed:
// their clients read no answers of ours. It has what these protocols share: the origin
// check, CORS, the limits of one address, the handshake, and draining.
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

// A Gate is that of one protocol. Its fields are set before the first request; its
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

// admitWithin is how long a client that has connected too often waits for its turn. Its
// socket ends then.
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

// Upgrade makes a socket of a request that Admit has let in, or answers it. begin returns
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
	// An error means that the client has gone, or net/http has.
	if _, err := socket.Accept(w, r, g.Lot, o, begin()); err == nil {
		g.Meter.Request(g.Transport, http.StatusSwitchingProtocols)
	}
}

// Delay makes the protocol of a client that does too much look again when the client has
// its turn. It returns why if that ends the socket instead. since is when the socket
// began.
func (g *Gate) Delay(s *socket.Socket, since, now time.Time, why error) error {
	limited, _ := errors.AsType[problem.Problem](why)
	at := now.Add(limited.RetryAfter)
	if g.Draining() != nil || at.Sub(since) > admitWithin || !g.Clients.Listens(s.Client()) {
		return why
	}
	s.LookAgain(at)
	return nil
}

// A Drain is a time in which all sockets end.
type Drain struct {
	from time.Time
	over time.Duration
}

// Drain makes every socket end at a random moment within over, and refuses new ones.
// There is no way back; a second call only shortens the time.
func (g *Gate) Drain(over time.Duration) {
	g.draining.Store(&Drain{time.Now(), over})
	g.Lot.WakeAll()
}

// Draining returns the last Drain, or nil.
func (g *Gate) Draining() *Drain { return g.draining.Load() }

// Moment returns when one socket ends: another time at each call.
func (d *Drain) Moment() time.Time {
	if d.over <= 0 {
		return d.from
	}
	return d.from.Add(rand.N(d.over))
}
