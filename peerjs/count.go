package peerjs

import (
	"errors"
	"net/http"
	"net/netip"

	"inbox"
	"inbox/internal/meter"
)

// statuses are what the endings of a message or a socket would be over HTTP, where
// metrics show all transports alike.
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

// count counts how a client's message, or its socket, has fared.
func (h *Handler) count(err error, client netip.Addr) {
	if err == nil {
		h.Meter.Request(meter.PeerJS, http.StatusOK)
		return
	}
	if errors.Is(err, inbox.ErrRateLimited) { // the limit has counted it
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

// Held returns the bytes of messages for peers who are not there, as counted against
// Config.MaxHeld.
func (h *Handler) Held() int64 { return h.held.Load() }
