package inboxhttp

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"

	"inbox"
)

// problem is an error as a client reads it (RFC 9457). It never quotes what a
// client sent.
type problem struct {
	status int
	code   string // what programs read
	detail string // what people read
}

func (p problem) Error() string { return p.code }

// problems says what becomes of an error that is not a problem yet.
var problems = []struct {
	err error
	problem
}{
	{inbox.ErrUnauthorized, problem{http.StatusUnauthorized, "unauthorized", "This inbox has another password."}},
	{inbox.ErrNoInbox, problem{http.StatusNotFound, "no-such-inbox", "The recipient has no inbox: it has not asked yet, or not for a while."}},
	{inbox.ErrBadCursor, problem{http.StatusBadRequest, "bad-cursor", "This server has given out no such cursor."}},
	{inbox.ErrReplaced, problem{http.StatusConflict, "replaced", "A newer receiver waits at this inbox."}},
	{inbox.ErrClosed, problem{http.StatusConflict, "closed", "The inbox was closed by its owner."}},
	{inbox.ErrFull, problem{http.StatusServiceUnavailable, "inbox-full", "The recipient's inbox holds as much as it may."}},
	{inbox.ErrServerFull, problem{http.StatusServiceUnavailable, "server-full", "The server holds as much as it may."}},
	{inbox.ErrDraining, problem{http.StatusServiceUnavailable, "draining", "The server is about to stop; another takes over, or it comes back."}},
	{os.ErrDeadlineExceeded, problem{http.StatusRequestTimeout, "too-slow", "The body took too long to arrive."}},
}

// storeUnavailable is what is left: the store did not do what it should.
var storeUnavailable = problem{http.StatusServiceUnavailable, "store-unavailable", "The inboxes cannot be reached at the moment."}

func problemOf(err error) problem {
	if p, ok := errors.AsType[problem](err); ok {
		return p
	}
	for _, known := range problems {
		if errors.Is(err, known.err) {
			return known.problem
		}
	}
	return storeUnavailable
}

// fail answers with an error. It is the one place that does, over HTTP.
func (h *Handler) fail(w http.ResponseWriter, err error) {
	if errors.Is(err, context.Canceled) {
		// Nobody is there to read an answer, and half an answer would look like
		// an empty message: end the connection or stream without one.
		panic(http.ErrAbortHandler)
	}
	h.logStore(err)
	p := problemOf(err)
	header := w.Header()
	switch p.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Basic realm="inbox", charset="UTF-8"`)
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(retryAfter(p.code)))
	}
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}{"about:blank", http.StatusText(p.status), p.status, p.detail, p.code})
	if err != nil {
		panic(err) // four strings and a number
	}
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.status)
	w.Write(body)
}

// logStore logs what is the store's fault, now and then.
func (h *Handler) logStore(err error) {
	if err != nil && problemOf(err) == storeUnavailable && h.seldom() {
		h.Log.Error("store failed", "error", err)
	}
}

// seldom reports whether a fault is to be logged: at most one a second, since all
// peers meet the same one.
func (h *Handler) seldom() bool {
	now := time.Now().Unix()
	return h.lastFault.Swap(now) != now
}

// retryAfter is in seconds. It is drawn by lot where many clients hear it at
// once, so that they do not come back at once.
func retryAfter(code string) int {
	if code == "inbox-full" {
		return 1
	}
	return 1 + rand.IntN(5)
}
