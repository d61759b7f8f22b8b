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

// ErrReset is returned by Receive, and yielded by All, when the inbox that was
// received from has ended (it expired, or the server lost it) and begins anew.
// Messages may have been missed. Receiving goes on when it is asked again.
var ErrReset = errors.New("the inbox began anew: messages may have been missed")

// An Error is an answer of the server that says no.
type Error struct {
	Status     int           // of HTTP
	Code       string        // as in docs/protocol.md; proxy-auth, not-inbox, or empty if somebody else answered
	Detail     string        // for people
	RetryAfter time.Duration // what the server asked for, or zero
}

func (e *Error) Error() string {
	switch {
	case e.Code == "":
		return fmt.Sprintf("the answer was %d %s%s, and not from an inbox server", e.Status, http.StatusText(e.Status), e.Detail)
	case e.Detail != "":
		return e.Code + ": " + e.Detail
	}
	if p, _ := problem.OfCode(e.Code); p.Err != nil { // on a socket there are no details
		return e.Code + ": " + p.Err.Error()
	}
	return e.Code
}

// Unwrap returns the error of package inbox that e stands for, or nil.
func (e *Error) Unwrap() error {
	p, _ := problem.OfCode(e.Code)
	return p.Err
}

// A RetryError says that something was tried again and again, in vain.
type RetryError struct {
	Last  error // the last failure
	Ended error // the context's error, or nil if the time for trying was over
}

func (e *RetryError) Error() string {
	if e.Ended != nil {
		return fmt.Sprintf("%v; before that: %v", e.Ended, e.Last)
	}
	return fmt.Sprintf("tried again in vain: %v", e.Last)
}

func (e *RetryError) Unwrap() []error {
	if e.Ended != nil {
		return []error{e.Last, e.Ended}
	}
	return []error{e.Last}
}

// errQuick is an empty answer to a request that was to wait. Asking again at once
// would be a loop.
var errQuick = errors.New("something answers in the server's place: nothing arrived, and the request did not wait")

// errLarge is an answer that the client has no memory for.
var errLarge = fmt.Errorf("an answer is larger than %d MiB", maxAnswer>>20)

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
		return false // what answers does not speak TLS
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		const internalError, userCanceled = 80, 90 // RFC 8446, 6.2
		return alert == internalError || alert == userCanceled
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return false // there is no such address, and never will be
	}
	return !errors.Is(err, errLarge) && !errors.Is(err, inbox.ErrClosed)
}

// errorOf reads an answer that is not a success.
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

// asksForOther reports whether an answer asks for credentials other than those of an
// inbox, whose realm is inbox even where a proxy has replaced the page.
func asksForOther(status int, header http.Header) bool {
	switch status {
	case http.StatusProxyAuthRequired:
		return true
	case http.StatusUnauthorized:
		return !strings.Contains(header.Get("WWW-Authenticate"), `realm="inbox"`)
	}
	return false
}

// notInbox describes an answer that says yes, but is no inbox server's.
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

// mediaType is the Content-Type without its parameters.
func mediaType(header http.Header) string {
	media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// seconds converts a number of seconds that a server has said.
func seconds(n float64) time.Duration {
	return time.Duration(min(max(n, 0), 1e9) * float64(time.Second)) // 1e9 are 30 years
}

// retryAfter reads both forms of the header (RFC 9110, 10.2.3).
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// proxyRefused reports whether a proxy refused to connect us to the server because it
// wants credentials. Of its answer, net/http gives the text after the status.
func proxyRefused(err error) bool {
	return strings.Contains(strings.ToLower(err.Error()), "proxy authentication required")
}

// failure says what became of a request without an answer. The URL that
// net/http puts before it is left out: it may name the recipient.
func failure(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if proxyRefused(err) {
		return &Error{Status: http.StatusProxyAuthRequired, Code: problem.ProxyAuth.Code, Detail: problem.ProxyAuth.Detail}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the server did not answer in time")
	}
	return fmt.Errorf("the server cannot be reached: %w", err)
}
