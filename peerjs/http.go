package peerjs

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// read answers GET and HEAD with content.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, content func() (kind string, body []byte, err error)) {
	h.gate.Read(w, r, func(w http.ResponseWriter, r *http.Request) {
		kind, body, err := content()
		switch {
		case errors.Is(err, errNoDiscovery):
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, http.StatusText(http.StatusUnauthorized))
		case err != nil:
			h.logStore(err)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "The peers cannot be listed at the moment.", http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", kind)
			w.Write(body)
		}
	})
}

// NewID serves GET /{key}/id: a random UUID. As in peerjs-server, the key does not matter
// here; it is checked when a socket is opened.
func (h *Handler) NewID(w http.ResponseWriter, r *http.Request) {
	h.read(w, r, func() (string, []byte, error) {
		var b [16]byte
		rand.Read(b[:])
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4 (RFC 9562, 5.4)
		id := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
		return "text/html; charset=utf-8", []byte(id), nil
	})
}

var errNoDiscovery = errors.New("peers are not listed here")

// Peers serves GET /{key}/peers: the ids of all open peers, or 401 without
// Config.Discovery.
func (h *Handler) Peers(w http.ResponseWriter, r *http.Request) {
	h.read(w, r, func() (string, []byte, error) {
		if h.dir == nil {
			return "", nil, errNoDiscovery
		}
		ids, err := h.dir.all(r.Context())
		if err != nil {
			return "", nil, err
		}
		body, err := json.Marshal(ids)
		return "application/json; charset=utf-8", body, err
	})
}

// Info serves the description of a PeerJS server.
func (h *Handler) Info(w http.ResponseWriter, r *http.Request) {
	h.read(w, r, func() (string, []byte, error) {
		return "application/json; charset=utf-8", []byte(info), nil
	})
}

// info has the name that programs look for.
const info = `{"name":"PeerJS Server","description":"A server side element to broker connections between PeerJS clients.","website":"https://peerjs.com/"}`
