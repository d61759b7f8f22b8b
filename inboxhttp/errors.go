package inboxhttp

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"

	"inbox"
	"inbox/internal/problem"
)

// problemOf returns the problem that an error becomes. An error of no other kind is
// the store's: it did not do what it should.
func problemOf(err error) problem.Problem {
	if p, ok := errors.AsType[problem.Problem](err); ok {
		return p
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return problem.TooSlow
	}
	if errors.Is(err, inbox.ErrShare) {
		return problem.ShareFull
	}
	for _, p := range problem.All {
		if p.Err != nil && errors.Is(err, p.Err) {
			return p
		}
	}
	return problem.StoreUnavailable
}

// fail answers with an error. It is the one place that does, over HTTP. A 401 challenges
// programs alone: a browser would ask its user for a password, remember it, and add it
// to requests of other pages. It returns what the client was told.
func (h *Handler) fail(w http.ResponseWriter, err error, program bool) problem.Problem {
	if errors.Is(err, context.Canceled) {
		// Nobody is there to read an answer, and half an answer would look like
		// an empty message: end the connection or stream without one.
		panic(http.ErrAbortHandler)
	}
	h.logStore(err)
	p := problemOf(err)
	header := w.Header()
	switch {
	case p.Status == http.StatusUnauthorized && program:
		header.Set("WWW-Authenticate", `Basic realm="inbox", charset="UTF-8"`)
	case p.Status == http.StatusServiceUnavailable, p.Status == http.StatusTooManyRequests:
		header.Set("Retry-After", strconv.Itoa(retryAfter(p)))
	}
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}{"about:blank", http.StatusText(p.Status), p.Status, p.Detail, p.Code})
	if err != nil {
		panic(err) // four strings and a number
	}
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	w.Write(body)
	return p
}

// logStore logs what is the store's fault.
func (h *Handler) logStore(err error) {
	if err != nil && problemOf(err).Code == problem.StoreUnavailable.Code && h.storeFaults.Allow() {
		h.Log.Error("store failed", "error", err)
	}
}

// retryAfter is in whole seconds, and at least as long as the problem says. It is random
// where many clients hear it at once, so that they do not come back at once.
func retryAfter(p problem.Problem) int {
	switch {
	case p.RetryAfter > 0:
		return p.Seconds()
	case p.Code == problem.InboxFull.Code:
		return 1
	}
	return 1 + rand.IntN(5)
}
