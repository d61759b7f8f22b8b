package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"inbox"
	"inbox/internal/problem"
)

// ErrReset means that the inbox was lost and opened again, because it expired or the
// server lost its state, so messages may have been missed. Receive returns it and All
// yields it. Receiving continues with the next call or iteration.
var ErrReset = errors.New("the inbox was reset: messages may have been missed")

// An Error is a response that refuses a request.
type Error struct {
	Status     int           // HTTP status
	Code       string        // see docs/protocol.md; proxy-auth, not-inbox or empty if no inbox server answered
	Detail     string        // for people
	RetryAfter time.Duration // how long the server asks to wait, or 0
}

func (e *Error) Error() string {
	switch {
	case e.Code == "":
		return fmt.Sprintf("unexpected response: %d %s%s (not from an inbox server)", e.Status, http.StatusText(e.Status), e.Detail)
	case e.Detail != "":
		return e.Code + ": " + e.Detail
	}
	if p, _ := problem.OfCode(e.Code); p.Err != nil { // errors on a socket have no detail
		return e.Code + ": " + p.Err.Error()
	}
	return e.Code
}

// Unwrap returns the error of package inbox that matches e.Code, or nil.
func (e *Error) Unwrap() error {
	p, _ := problem.OfCode(e.Code)
	return p.Err
}

// A RetryError means that an operation was retried until its time ran out or its context
// ended.
type RetryError struct {
	Last  error // the last failure
	Ended error // the context's error, or nil if [Config.RetryFor] or [Config.Wait] ran out
}

func (e *RetryError) Error() string {
	if e.Ended != nil {
		return fmt.Sprintf("%v (last error: %v)", e.Ended, e.Last)
	}
	return fmt.Sprintf("gave up after retries: %v", e.Last)
}

func (e *RetryError) Unwrap() []error {
	if e.Ended != nil {
		return []error{e.Last, e.Ended}
	}
	return []error{e.Last}
}

// errImmediate means that a long poll returned nothing without waiting. Repeating it
// immediately would be a busy loop.
var errImmediate = errors.New("the server answered a long poll immediately with nothing; a proxy or cache may be answering in its place")

// errLarge means that a response exceeds maxAnswer.
var errLarge = fmt.Errorf("the response is larger than %d MiB", maxAnswer>>20)

// temporary reports whether the same request may succeed later.
func temporary(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		if p, ok := problem.OfCode(e.Code); ok {
			return p.Retry
		}
		return problem.RetryStatus(e.Status)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return false // the other end does not speak TLS
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		const internalError, userCanceled = 80, 90 // RFC 8446, 6.2
		return alert == internalError || alert == userCanceled
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return false // a malformed address stays malformed
	}
	return !errors.Is(err, errLarge) && !errors.Is(err, inbox.ErrClosed)
}

// errorOf converts a response other than a success to an Error.
func errorOf(status int, header http.Header, body []byte) *Error {
	e := &Error{Status: status, RetryAfter: retryAfter(header.Get("Retry-After"))}
	var said struct{ Code, Detail string }
	if mediaType(header) == "application/problem+json" && json.Unmarshal(body, &said) == nil {
		e.Code, e.Detail = said.Code, said.Detail
	}
	if _, ours := problem.OfCode(e.Code); !ours {
		switch {
		case asksForOther(status, header):
			e.Code, e.Detail = problem.ProxyAuth.Code, problem.ProxyAuth.Detail
		case status == http.StatusUnauthorized:
			e.Code, e.Detail = problem.Unauthorized.Code, problem.Unauthorized.Detail
		}
	}
	if to, _, _ := strings.Cut(header.Get("Location"), "?"); e.Code == "" && to != "" {
		e.Detail = " to " + to
	}
	return e
}

// asksForOther reports whether a response demands credentials other than those of an
// inbox. Challenges for inboxes have the realm inbox, even where a proxy has replaced the
// body.
func asksForOther(status int, header http.Header) bool {
	switch status {
	case http.StatusProxyAuthRequired:
		return true
	case http.StatusUnauthorized:
		return !strings.Contains(header.Get("WWW-Authenticate"), `realm="inbox"`)
	}
	return false
}

// notInbox describes a successful response that did not come from an inbox server.
func notInbox(a answer) *Error {
	what := "an empty page"
	switch media := mediaType(a.header); {
	case strings.Contains(media, "html"):
		what = "a web page"
	case media != "" && printable(media):
		what = media
	case len(a.body) > 0:
		what = "something"
	}
	return &Error{Status: a.status, Code: problem.NotInbox.Code, Detail: fmt.Sprintf(
		"%s answered (%d %s), not an inbox server: check the URL, or log in to the network",
		what, a.status, http.StatusText(a.status))}
}

func printable(s string) bool {
	return len(s) < 100 && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// mediaType returns the Content-Type without its parameters.
func mediaType(header http.Header) string {
	media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// seconds converts a number of seconds sent by the server.
func seconds(n float64) time.Duration {
	return time.Duration(min(max(n, 0), 1e9) * float64(time.Second)) // 1e9 s are about 30 years
}

// retryAfter parses both forms of a Retry-After header (RFC 9110, 10.2.3).
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// proxyRefused reports whether a proxy refused a CONNECT because it wants credentials.
// net/http only exposes the status text of the proxy's response.
func proxyRefused(err error) bool {
	return strings.Contains(strings.ToLower(err.Error()), "proxy authentication required")
}

// failure converts the error of a request that got no response. It removes the URL that
// net/http prepends, which may name the recipient.
func failure(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if proxyRefused(err) {
		return &Error{Status: http.StatusProxyAuthRequired, Code: problem.ProxyAuth.Code, Detail: problem.ProxyAuth.Detail}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the server did not respond in time")
	}
	return fmt.Errorf("cannot reach the server: %w", err)
}
