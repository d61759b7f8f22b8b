package inboxhttp

import (
	"io"
	"net/http"
	"net/netip"

	"inbox/internal/clientaddr"
	"inbox/internal/meter"
	"inbox/internal/outcome"
	"inbox/internal/problem"
)

// maxOutcome is the maximum length of a report, in bytes. A full report takes about 150.
const maxOutcome = 1 << 10

// outcome handles POST /outcome.
func (h *Handler) outcome(w http.ResponseWriter, r *http.Request) error {
	p, err := h.peer(r)
	if err != nil {
		return err
	}
	if hasContentEncoding(r.Header) {
		return problem.EncodedBody
	}
	report, err := readOutcome(w, r)
	if err != nil {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // do not wait for the rest of the body
		}
		return err
	}
	if h.Outcomes != nil {
		if err := h.checkPassword(r, p); err != nil {
			return err
		}
		if wait := h.rare.Take(h.rare.KeyOf(netip.Addr{}, p.ID), reports, 1); wait > 0 {
			return problem.RateLimited.With("An inbox may report one outcome a minute.").After(wait)
		}
		if wait := h.rare.Take(h.rare.Key(clientaddr.Of(r.RemoteAddr)), reporters, 1); wait > 0 {
			return problem.RateLimited.With("This address reports too many outcomes.").After(wait)
		}
		h.Outcomes.Add(report)
	}
	h.answer(w, meter.HTTP, http.StatusNoContent)
	return nil
}

func readOutcome(w http.ResponseWriter, r *http.Request) (outcome.Report, error) {
	if r.ContentLength > maxOutcome {
		return outcome.Report{}, problem.TooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOutcome))
	if err != nil {
		return outcome.Report{}, bodyError(err)
	}
	report, err := outcome.Parse(body)
	if err != nil {
		return outcome.Report{}, badRequest(sentence(err))
	}
	return report, nil
}
