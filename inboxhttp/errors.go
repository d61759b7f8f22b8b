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

// problemOf converts an error into the problem that the client receives. Every error
// without a problem is a failure of the store: StoreUnavailable.
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

// fail writes an error as problem+json and returns the problem. All HTTP errors of this
// package go through it. A 401 challenges only programs: a browser would prompt its user
// for a password, remember it and add it to requests of other pages. If the client has
// left, fail panics with http.ErrAbortHandler.
func (h *Handler) fail(w http.ResponseWriter, err error, program bool) problem.Problem {
	if errors.Is(err, context.Canceled) {
		// The client has left. End the connection or stream without an answer: half an
		// answer would look like an empty message.
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
		panic(err) // impossible: four strings and a number
	}
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	w.Write(body)
	return p
}

// logStore logs err, at most once a second, if it is a failure of the store.
func (h *Handler) logStore(err error) {
	if err != nil && problemOf(err).Code == problem.StoreUnavailable.Code && h.storeFaults.Allow() {
		h.Log.Error("store failed", "error", err)
	}
}

// retryAfter returns the value of Retry-After in whole seconds, at least what the problem
// demands. It is random from 1 to 5 where many clients fail together, so that they do not
// retry together.
func retryAfter(p problem.Problem) int {
	switch {
	case p.RetryAfter > 0:
		return p.Seconds()
	case p.Code == problem.InboxFull.Code:
		return 1
	}
	return 1 + rand.IntN(5)
}
