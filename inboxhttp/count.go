package inboxhttp

import (
	"encoding/json"
	"net/http"
	"net/netip"

	"inbox"
	"inbox/internal/meter"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

// answer writes the header of a successful answer and counts the request.
func (h *Handler) answer(w http.ResponseWriter, t meter.Transport, status int) {
	h.Meter.Request(t, status)
	w.WriteHeader(status)
}

// answerJSON writes v as the body of a 200.
func (h *Handler) answerJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // impossible: strings and numbers
	}
	w.Header().Set("Content-Type", applicationJSON)
	setLength(w.Header(), len(body))
	h.answer(w, meter.HTTP, http.StatusOK)
	w.Write(body)
}

// countFailure counts a failed request and, if the server refused it, the refusal by
// reason and client.
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

// countPreflight counts a preflight by the response headers that CORS has set.
func (h *Handler) countPreflight(header http.Header, client netip.Addr) {
	if header.Get("Access-Control-Allow-Origin") == "" {
		h.countFailure(meter.HTTP, problem.ForbiddenOrigin, client)
		return
	}
	h.Meter.Request(meter.HTTP, http.StatusNoContent)
}

// transport returns the transport that a failed request asked for.
func (h *Handler) transport(r *http.Request) meter.Transport {
	switch {
	case r.Method != http.MethodGet:
		return meter.HTTP
	case socket.IsUpgrade(r.Header):
		return meter.Socket
	case accept(r.Header) == eventStream:
		return meter.Stream
	}
	q, _ := h.pollQuery(r, false)
	return q.transport()
}

// transport returns LongPoll if the request may wait, and HTTP otherwise.
func (q pollQuery) transport() meter.Transport {
	if q.wait > 0 && q.limit > 0 {
		return meter.LongPoll
	}
	return meter.HTTP
}
