package inboxhttp

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"time"

	"inbox"
	"inbox/internal/browser"
	"inbox/internal/clientaddr"
	"inbox/internal/meter"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

// An ICEServer is an entry of RTCConfiguration.iceServers.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

// iceTTL is how long clients can begin to use the servers of an answer. Clients that
// cannot ask again, such as PeerJS, need them for as long as a page stays open.
const iceTTL = 12 * time.Hour

// ice is GET /ice. It neither opens an inbox nor keeps one alive.
func (h *Handler) ice(w http.ResponseWriter, r *http.Request) error {
	guest := h.ICEPublic && len(r.Header["Authorization"]) == 0 && browser.MayHaveSent(r.Header)
	var p inbox.Peer
	if !guest {
		var err error
		if p, err = h.peer(r); err != nil {
			return err
		}
	}
	if err := socket.NoBody(w, r); err != nil {
		return refusedHandshake(err)
	}
	if _, err := query(r); err != nil {
		return err
	}
	if guest {
		if wait := h.rare.Take(h.rare.Key(clientaddr.Of(r.RemoteAddr)), guests, 1); wait > 0 {
			return problem.RateLimited.With("This address asks for ICE servers too often.").After(wait)
		}
		p.ID = "guest:" + rand.Text() // no id has a colon
	} else if err := h.checkPassword(r, p); err != nil {
		return err
	}
	servers := []ICEServer{}
	if h.ICEServers != nil {
		servers = append(servers, h.ICEServers(r, p.ID)...)
	}
	body, err := json.Marshal(struct {
		ICEServers []ICEServer `json:"iceServers"`
		TTL        int64       `json:"ttl"`
	}{servers, int64(iceTTL / time.Second)})
	if err != nil {
		panic(err) // strings and a number
	}
	w.Header().Set("Content-Type", applicationJSON)
	setLength(w.Header(), len(body))
	h.answer(w, meter.HTTP, http.StatusOK)
	w.Write(body)
	return nil
}

// noLife is a life that no inbox has: one is drawn from 64 bits.
const noLife = 1<<64 - 1

// checkPassword fails if the inbox of p has another password. There need not be one, and
// none is opened.
func (h *Handler) checkPassword(r *http.Request, p inbox.Peer) error {
	return h.Store.Close(r.Context(), p, noLife)
}
