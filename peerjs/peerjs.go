// Package peerjs serves the protocol of PeerJS (docs/peerjs.md), so that its clients work
// with this server unchanged. All quirks of that protocol are in this package.
//
// A PeerJS peer is an inbox whose id begins with "peerjs:" and the key. Ids of our
// protocol contain no colon, so neither protocol can name the other's peers. The inbox's
// secret is derived from the token.
package peerjs

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"inbox"
	"inbox/internal/browser"
	"inbox/internal/flight"
	"inbox/internal/gate"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/internal/park"
	"inbox/internal/shrink"
	"inbox/internal/socket"
	"inbox/internal/throttle"
)

// DefaultKey is the key that clients send by default.
const DefaultKey = "peerjs"

// DefaultMaxMessage is the default of Config.MaxMessage, in bytes.
const DefaultMaxMessage = 256 << 10

// Config configures a [Handler]. A zero field has the default that its comment states.
type Config struct {
	Store         inbox.Store         // required
	Pepper        *inbox.Pepper       // required; shared by all servers of a store
	Authenticator inbox.Authenticator // for ids and tokens; default Pepper

	Key          string          // key that clients must send, see [CheckKey]; default "peerjs"
	Discovery    bool            // let anyone list the peers
	MaxMessage   int             // longest frame, in bytes; default 256 KiB
	MaxHeld      int64           // bytes of all messages for absent peers; default 64 MiB
	InFlight     *flight.Budget  // bounds frames in flight; default 256 MiB
	AllowOrigins []string        // origins of pages that may use the server; default all
	Log          *slog.Logger    // logs store failures and refused origins; default discard
	Lot          *park.Lot       // where sockets wait; by default one that watches no connections
	Clients      *limit.Clients  // limits per client address; nil means none
	Refusals     *meter.Refusals // counts refusals by reason; nil counts nothing
	Meter        *meter.Meter    // counts messages and peers; nil counts nothing
}

// A Handler serves the URLs of PeerJS: Socket, NewID, Peers and Info. It is safe for
// concurrent use.
type Handler struct {
	Config
	prefix  string // prefix of the inboxes' ids
	options socket.Options
	gate    gate.Gate

	holdFor time.Duration // how long messages for absent peers wait; tests change it
	held    atomic.Int64  // bytes of messages for absent peers

	storeFaults throttle.EachSecond // throttles the log: when the store fails, every socket fails

	mu   sync.Mutex                // guards open
	open shrink.Map[*peer, string] // peers on this server with their ids; empty without Discovery
	dir  *directory                // peers of other servers; nil without Discovery
}

var keyForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$`)

// CheckKey validates a key: 1 to 64 letters, digits, dots, hyphens, underscores and
// tildes, beginning with a letter or digit.
func CheckKey(key string) error {
	if !keyForm.MatchString(key) {
		return errors.New("a key must have 1 to 64 characters: letters, digits and, after the first, . - _ ~")
	}
	return nil
}

// New returns a Handler. It fails if a required field of c is missing or a key or origin
// is invalid.
func New(c Config) (*Handler, error) {
	if c.Store == nil || c.Pepper == nil {
		return nil, errors.New("peerjs: a Store and a Pepper are required")
	}
	if c.Authenticator == nil {
		c.Authenticator = c.Pepper
	}
	if c.Key == "" {
		c.Key = DefaultKey
	}
	if err := CheckKey(c.Key); err != nil {
		return nil, err
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = DefaultMaxMessage
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = 64 << 20
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
	h := &Handler{
		Config: c, prefix: "peerjs:" + c.Key + ":", holdFor: holdFor,
		options: socket.Options{MaxMessage: c.MaxMessage, InFlight: c.InFlight, Frame: c.Clients.Frame},
	}
	// Like peerjs-server, answer with the page's own origin instead of "*".
	pages, err := browser.New(browser.Config{
		Origins: c.AllowOrigins, Methods: "GET, HEAD", Expose: "Retry-After, *", Echo: true, Log: c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("allowed origins: %w", err)
	}
	h.gate = gate.Gate{
		Transport: meter.PeerJS, Who: "Clients of PeerJS", Pages: pages, Lot: c.Lot,
		Clients: c.Clients, Refusals: c.Refusals, Meter: c.Meter,
	}
	if c.Discovery {
		h.dir = newDirectory(h)
	}
	return h, nil
}

// Drain closes all sockets, each at a random moment within over, and refuses new ones.
// Clients of PeerJS do not reconnect by themselves, so call it as late as possible. It
// cannot be undone; another call can only shorten the time.
func (h *Handler) Drain(over time.Duration) { h.gate.Drain(over) }

// logStore logs a store failure, at most once a second.
func (h *Handler) logStore(err error) {
	if h.storeFaults.Allow() {
		h.Log.Error("store failed", "error", err)
	}
}
