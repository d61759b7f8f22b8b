package peerjs

import (
	"errors"
	"net/http"
	"net/netip"

	"inbox"
	"inbox/internal/meter"
)

// statuses maps the failures of a message or socket to the HTTP statuses that metrics
// show for every transport.
var statuses = []struct {
	err    error
	status int
	reason meter.Reason
}{
	{inbox.ErrNoInbox, http.StatusNotFound, meter.NoSuchInbox},
	{inbox.ErrUnauthorized, http.StatusUnauthorized, meter.Unauthorized},
	{inbox.ErrFull, http.StatusServiceUnavailable, meter.InboxFull},
	{inbox.ErrServerFull, http.StatusServiceUnavailable, meter.ServerFull},
	{refusal(idIsTaken), http.StatusUnauthorized, meter.Unauthorized},
	{refusal(wrongKey), http.StatusUnauthorized, meter.Unauthorized},
	{refusal(missing), http.StatusBadRequest, meter.BadCredentials},
	{refusal(badID), http.StatusBadRequest, meter.BadCredentials},
	{refusal(serverFull), http.StatusServiceUnavailable, meter.ServerFull},
}

// count counts the outcome of a message or a socket.
func (h *Handler) count(err error, client netip.Addr) {
	if err == nil {
		h.Meter.Request(meter.PeerJS, http.StatusOK)
		return
	}
	if errors.Is(err, inbox.ErrRateLimited) { // the limiter has counted the refusal
		h.Meter.Request(meter.PeerJS, http.StatusTooManyRequests)
		return
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			h.Meter.Request(meter.PeerJS, s.status)
			h.Refusals.Add(s.reason, client)
			return
		}
	}
	h.Meter.Request(meter.PeerJS, http.StatusServiceUnavailable)
	h.Refusals.Add(meter.StoreUnavailable, client)
}

// Held returns how many bytes of messages wait for absent peers, as counted against
// Config.MaxHeld.
func (h *Handler) Held() int64 { return h.held.Load() }
