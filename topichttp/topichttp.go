// Package topichttp serves the clients of other projects that find each other in topics:
// y-webrtc and Trystero, and clients of WebTorrent trackers (docs/topics.md). Each
// protocol has a file, which reads its frames. They share the rest: a connection has a
// bounded queue, and is parked like every socket of the server. It subscribes to its
// topics. For the tracker, each swarm subscribes to one topic instead, in which the
// servers tell each other about their peers.
package topichttp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"inbox"
	"inbox/internal/browser"
	"inbox/internal/clientaddr"
	"inbox/internal/flight"
	"inbox/internal/gate"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/internal/park"
	"inbox/internal/socket"
)

// DefaultMaxMessage is the default of Config.MaxMessage.
const DefaultMaxMessage = 128 << 10

// Config configures a Handler. Zero fields mean the documented default.
type Config struct {
	Topics inbox.Topics // required

	PerConnection int // topics of one connection; default 200
	MaxMessage    int // bytes of a frame; default 128 KiB
	Queue         int // bytes queued for a subscriber that does not read; default 256 KiB
	Swarms        int // swarms of the tracker; default 1,000
	SwarmPeers    int // peers of one swarm at this server; default 1,000

	InFlight     *flight.Budget  // bounds the bytes of frames in flight; default 256 MiB
	AllowOrigins []string        // origins of pages that may connect; default: all
	Log          *slog.Logger    // logs refused pages; default: none
	Lot          *park.Lot       // where idle sockets wait; default: a Lot without a watcher
	Clients      *limit.Clients  // limits per address; default: none
	Refusals     *meter.Refusals // counts refusals; default: none
	Meter        *meter.Meter    // counts publications and connections; default: none
}

// withDefaults returns c with its zero fields set.
func (c Config) withDefaults() (Config, error) {
	if c.Topics == nil {
		return c, errors.New("topichttp: Topics are required")
	}
	if c.PerConnection == 0 {
		c.PerConnection = 200
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = DefaultMaxMessage
	}
	if c.Queue == 0 {
		c.Queue = 256 << 10
	}
	if c.Swarms == 0 {
		c.Swarms = 1000
	}
	if c.SwarmPeers == 0 {
		c.SwarmPeers = 1000
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
	return c, nil
}

// Handler serves the URLs of the protocols: YWebRTC, Trystero and Tracker. It is safe for
// concurrent use.
type Handler struct {
	Config
	yWebRTC, trystero, tracker kind
	swarms                     swarms
	dropped                    atomic.Uint64 // deliveries lost by subscribers that do not read
}

// A kind is one protocol.
type kind struct {
	gate    gate.Gate
	options socket.Options
	prefix  string // of its topics, which keeps the protocols separate
	// message handles a frame. It passes frames that publish nothing to member.odd.
	message func(m *member, s *socket.Socket, now time.Time, text []byte) error
	// wire returns the frame of a publication.
	wire func(p *inbox.Publication) []byte
	// patient: a subscriber that does not read loses publications. Otherwise it is
	// disconnected, and subscribes again.
	patient bool
}

// New returns a Handler, or an error if Topics are missing or an origin is invalid.
func New(c Config) (*Handler, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Handler{Config: c}
	pages, err := c.pages()
	if err != nil {
		return nil, err
	}
	h.begin(&h.yWebRTC, meter.YWebRTC, "Clients of y-webrtc", pages)
	h.yWebRTC.prefix, h.yWebRTC.message, h.yWebRTC.wire = "yjs:", yMessage, yWire
	h.begin(&h.trystero, meter.Trystero, "Clients of Trystero", pages)
	h.trystero.prefix, h.trystero.message, h.trystero.wire = "trystero:", trysteroMessage, body
	h.trystero.patient = true
	h.begin(&h.tracker, meter.Tracker, "HTTP and UDP trackers are not served here. WebTorrent clients", pages)
	h.tracker.message, h.tracker.wire, h.tracker.patient = trackerMessage, body, true
	h.swarms.begin(&h.Config)
	return h, nil
}

func (c Config) pages() (*browser.Pages, error) {
	pages, err := browser.New(browser.Config{
		Origins: c.AllowOrigins, Methods: "GET, HEAD", Expose: "Retry-After", Log: c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("allowed origins: %w", err)
	}
	return pages, nil
}

// begin sets the options that all protocols share.
func (h *Handler) begin(k *kind, t meter.Transport, who string, pages *browser.Pages) {
	k.options = socket.Options{MaxMessage: h.MaxMessage, InFlight: h.InFlight, Frame: h.Clients.Frame, Patient: true}
	k.gate.Transport, k.gate.Who, k.gate.Pages = t, who, pages
	k.gate.Lot, k.gate.Clients, k.gate.Refusals, k.gate.Meter = h.Lot, h.Clients, h.Refusals, h.Meter
}

// YWebRTC serves clients of y-webrtc, at any path. It answers requests other than for a
// WebSocket as y-webrtc's own server does.
func (h *Handler) YWebRTC(w http.ResponseWriter, r *http.Request) {
	k := &h.yWebRTC
	k.gate.Admit(w, r, func(w http.ResponseWriter, r *http.Request) {
		if socket.IsUpgrade(r.Header) {
			h.connect(k, w, r)
			return
		}
		if !k.gate.Limited(w, clientaddr.Of(r.RemoteAddr)) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, "okay")
		}
	})
}

// Trystero serves clients of Trystero's ws-relay.
func (h *Handler) Trystero(w http.ResponseWriter, r *http.Request) { h.serve(&h.trystero, w, r) }

// Tracker serves clients of WebTorrent trackers.
func (h *Handler) Tracker(w http.ResponseWriter, r *http.Request) { h.serve(&h.tracker, w, r) }

func (h *Handler) serve(k *kind, w http.ResponseWriter, r *http.Request) {
	k.gate.Admit(w, r, func(w http.ResponseWriter, r *http.Request) { h.connect(k, w, r) })
}

func (h *Handler) connect(k *kind, w http.ResponseWriter, r *http.Request) {
	k.gate.Upgrade(w, r, &k.options, func() socket.Protocol {
		return &member{h: h, kind: k}
	})
}

// Drain ends every connection at a random moment within over, and refuses new ones. The
// clients reconnect by themselves. A second call can only shorten the time.
func (h *Handler) Drain(over time.Duration) {
	h.yWebRTC.gate.Drain(over)
	h.trystero.gate.Drain(over)
	h.tracker.gate.Drain(over)
}

// SwarmStats returns the number of the tracker's swarms, and of their peers at this server.
func (h *Handler) SwarmStats() (swarms, peers int) { return h.swarms.stats() }

// Relayed returns the number of offers and answers that the tracker passed on for clients
// of this server.
func (h *Handler) Relayed() uint64 { return h.swarms.relayed.Load() }

// Dropped returns the number of deliveries that subscribers lost because they did not read.
func (h *Handler) Dropped() uint64 { return h.dropped.Load() }

// body returns the body of p, which is a complete frame already.
func body(p *inbox.Publication) []byte { return p.Body }
