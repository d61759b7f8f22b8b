package inboxhttp

import (
	"net/http"
	"net/netip"

	"inbox"
	"inbox/internal/meter"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

// answer writes the header of an answer that is no error, and counts it.
func (h *Handler) answer(w http.ResponseWriter, t meter.Transport, status int) {
	h.Meter.Request(t, status)
	w.WriteHeader(status)
}

// countFailure counts an error that a client was told and, if it is a refusal, to whom.
func (h *Handler) countFailure(t meter.Transport, p problem.Problem, client netip.Addr) {
	h.Meter.Request(t, p.Status)
	why, ok := meter.ReasonOf(p.Code)
	if p.Err == inbox.ErrShare {
		why = meter.SenderShare
	}
	if ok {
		h.Refusals.Add(why, client)
	}
}

// countPreflight counts a preflight that was answered with this header.
func (h *Handler) countPreflight(header http.Header, client netip.Addr) {
	if header.Get("Access-Control-Allow-Origin") == "" {
		h.countFailure(meter.HTTP, problem.ForbiddenOrigin, client)
		return
	}
	h.Meter.Request(meter.HTTP, http.StatusNoContent)
}

// transport says what a request that fails was for.
func (h *Handler) transport(r *http.Request) meter.Transport {
	switch {
	case r.Method != http.MethodGet:
		return meter.HTTP
	case socket.IsUpgrade(r.Header):
		return meter.Socket
	case accept(r.Header) == eventStream:
		return meter.Stream
	}
	a, _ := h.ask(r, false)
	return a.transport()
}

// transport says how the request is answered: at once, or after a wait.
func (a ask) transport() meter.Transport {
	if a.wait > 0 && a.limit > 0 {
		return meter.LongPoll
	}
	return meter.HTTP
}
