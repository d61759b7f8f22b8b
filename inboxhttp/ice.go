package inboxhttp

import (
	"crypto/rand"
	"net/http"
	"time"

	"inbox"
	"inbox/internal/browser"
	"inbox/internal/clientaddr"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

// An ICEServer is an entry of RTCConfiguration.iceServers.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

// iceTTL is how long the credentials of an answer can be used to start a connection. It
// is long because some clients, such as PeerJS, cannot fetch new ones while a page stays
// open.
const iceTTL = 12 * time.Hour

// ice handles GET /ice. It neither opens an inbox nor extends its life.
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
			return problem.RateLimited.With("This address requests ICE servers too often.").After(wait)
		}
		p.ID = "guest:" + rand.Text() // cannot be a peer: ids contain no colon
	} else if err := h.checkPassword(r, p); err != nil {
		return err
	}
	servers := []ICEServer{}
	if h.ICEServers != nil {
		servers = append(servers, h.ICEServers(r, p.ID)...)
	}
	h.answerJSON(w, struct {
		ICEServers []ICEServer `json:"iceServers"`
		TTL        int64       `json:"ttl"`
	}{servers, int64(iceTTL / time.Second)})
	return nil
}

// noLife matches no inbox in practice: lives are random 64-bit numbers.
const noLife = 1<<64 - 1

// checkPassword fails if p's inbox has another password. It succeeds if there is no
// inbox, and opens none.
func (h *Handler) checkPassword(r *http.Request, p inbox.Peer) error {
	_, err := h.Store.Close(r.Context(), p, noLife)
	return err
}
