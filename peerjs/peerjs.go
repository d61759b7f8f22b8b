// Package peerjs speaks the protocol of PeerJS (docs/peerjs.md), so that its
// clients work with this server as they are. What is odd in that protocol is in
// this package, and nowhere else.
//
// A PeerJS peer is an inbox whose id begins with "peerjs:" and the key. No id of
// our own protocol holds a colon, so neither protocol can name the other's peers.
// The inbox's secret is made of the token.
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

// DefaultKey is the key that clients send unless they are told another.
const DefaultKey = "peerjs"

// DefaultMaxMessage is the default of Config.MaxMessage.
const DefaultMaxMessage = 256 << 10

// Config says how to speak. Zero fields mean the documented default.
type Config struct {
	Store         inbox.Store         // required
	Pepper        *inbox.Pepper       // required; of the inboxes that the servers share
	Authenticator inbox.Authenticator // of ids and tokens; Pepper

	Key          string          // that clients have to send, see [CheckKey]; "peerjs"
	Discovery    bool            // whether anybody may list the peers
	MaxMessage   int             // bytes of a frame; 256 KiB
	MaxHeld      int64           // bytes of all messages for peers who are not there; 64 MiB
	InFlight     *flight.Budget  // of frames that are on their way; 256 MiB
	AllowOrigins []string        // of pages that may ask; all
	Log          *slog.Logger    // failures of the store, refused pages; none
	Lot          *park.Lot       // of the server: sockets wait there; one that watches none
	Clients      *limit.Clients  // of one address; no limits
	Refusals     *meter.Refusals // of sockets and frames; not counted
	Meter        *meter.Meter    // counts messages and peers; not counted
}

// Handler serves the URLs of PeerJS: Socket, NewID, Peers and Info. It is safe
// for concurrent use.
type Handler struct {
	Config
	prefix  string // of the inboxes' ids
	options socket.Options
	gate    gate.Gate

	holdFor time.Duration // messages for peers who are not there; tests change it
	held    atomic.Int64  // bytes of messages for peers who are not there

	storeFaults throttle.EachSecond // that are logged: all sockets meet the same ones

	mu   sync.Mutex                // guards open
	open shrink.Map[*peer, string] // those on this server, with their ids; empty without Discovery
	dir  *directory                // what other servers say of theirs; nil without Discovery
}

var keyForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$`)

// CheckKey says what is wrong with a key: it has 1 to 64 letters, digits, dots,
// hyphens, underscores and tildes, and does not begin with one of the last four.
func CheckKey(key string) error {
	if !keyForm.MatchString(key) {
		return errors.New("a key has 1 to 64 letters, digits, and . - _ ~ after the first")
	}
	return nil
}

// New checks the configuration.
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
	// Any origin is named, as by peerjs-server.
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

// Drain ends all sockets, each at a moment of its own within over, and refuses
// new ones. A client of PeerJS does not come back by itself, so this is for when
// nothing else is left to do. There is no way back; a second call only shortens
// the time.
func (h *Handler) Drain(over time.Duration) { h.gate.Drain(over) }

// logStore logs what a store could not do.
func (h *Handler) logStore(err error) {
	if h.storeFaults.Allow() {
		h.Log.Error("store failed", "error", err)
	}
}
