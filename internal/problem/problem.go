// Package problem is the catalogue of the protocol's errors: for each one its code,
// its HTTP status, the close code of a socket, whether a client retries, and a
// sentence for people.
//
// The server answers from it and the Go client reads with it. Tests compare it with
// docs/protocol.md, docs/openapi.yaml and web/sdk/src/errors.ts.
package problem

import (
	"net/http"
	"time"

	"inbox"
)

// A Problem is one error of the protocol (RFC 9457). It never quotes what a client
// sent.
type Problem struct {
	Code   string // for programs
	Status int    // of HTTP; also in the error frame of a socket
	Close  int    // of a socket that ends for this reason; 0 if none does
	Retry  bool   // the same request can succeed later
	Detail string // for people: a sentence
	Err    error  // of package inbox; nil if it has none

	RetryAfter time.Duration // the server asks the client to wait so long; 0: for a usual time
}

func (p Problem) Error() string { return p.Code }

// Unwrap returns the error of package inbox that p stands for, or nil.
func (p Problem) Unwrap() error { return p.Err }

// With returns p with a detail that says more than the catalogue's.
func (p Problem) With(detail string) Problem {
	p.Detail = detail
	return p
}

// After returns p with the time that the client is asked to wait.
func (p Problem) After(wait time.Duration) Problem {
	p.RetryAfter = wait
	return p
}

// Seconds returns RetryAfter in whole seconds, rounded up, as HTTP has it.
func (p Problem) Seconds() int { return int((p.RetryAfter + time.Second - 1) / time.Second) }

// The catalogue. TooSlow also ends a socket whose first frame does not come.
var (
	BadRequest          = Problem{Code: "bad-request", Status: http.StatusBadRequest, Close: 4400, Detail: "The request is against the protocol."}
	BadCredentials      = Problem{Code: "bad-credentials", Status: http.StatusBadRequest, Close: 4400, Detail: "The id or the password is against the rules."}
	BadRecipient        = Problem{Code: "bad-recipient", Status: http.StatusBadRequest, Detail: "The recipient is not one valid id."}
	BadCursor           = Problem{Code: "bad-cursor", Status: http.StatusBadRequest, Close: 4400, Err: inbox.ErrBadCursor, Detail: "This server has given out no such cursor."}
	BadKey              = Problem{Code: "bad-key", Status: http.StatusBadRequest, Detail: "The Idempotency-Key is against the rules."}
	Unauthorized        = Problem{Code: "unauthorized", Status: http.StatusUnauthorized, Close: 4401, Err: inbox.ErrUnauthorized, Detail: "This inbox has another password."}
	ForbiddenOrigin     = Problem{Code: "forbidden-origin", Status: http.StatusForbidden, Detail: "Pages of this origin may not use this server."}
	ForbiddenNavigation = Problem{Code: "forbidden-navigation", Status: http.StatusForbidden, Detail: "An inbox is asked by a program, not opened, linked to or embedded as a page."}
	NoSuchInbox         = Problem{Code: "no-such-inbox", Status: http.StatusNotFound, Err: inbox.ErrNoInbox, Detail: "The recipient has no inbox: it has not asked yet, or not for a while."}
	MethodNotAllowed    = Problem{Code: "method-not-allowed", Status: http.StatusMethodNotAllowed, Detail: "This URL knows only the methods that Allow lists."}
	TooSlow             = Problem{Code: "too-slow", Status: http.StatusRequestTimeout, Close: 4408, Retry: true, Detail: "The body took too long to arrive."}
	Replaced            = Problem{Code: "replaced", Status: http.StatusConflict, Close: 4409, Err: inbox.ErrReplaced, Detail: "A newer receiver waits at this inbox."}
	Closed              = Problem{Code: "closed", Status: http.StatusConflict, Close: 4410, Err: inbox.ErrClosed, Detail: "The inbox was closed by its owner."}
	TooLarge            = Problem{Code: "too-large", Status: http.StatusRequestEntityTooLarge, Close: 4413, Detail: "The body is larger than this server takes."}
	EncodedBody         = Problem{Code: "encoded-body", Status: http.StatusUnsupportedMediaType, Detail: "A body is taken as it is: send it without a Content-Encoding."}
	UpgradeRequired     = Problem{Code: "bad-request", Status: http.StatusUpgradeRequired, Detail: "The version of the WebSocket protocol is 13."}
	RateLimited         = Problem{Code: "rate-limited", Status: http.StatusTooManyRequests, Close: 4429, Retry: true, Err: inbox.ErrRateLimited, Detail: "There were too many requests, or wrong passwords."}
	InboxFull           = Problem{Code: "inbox-full", Status: http.StatusServiceUnavailable, Retry: true, Err: inbox.ErrFull, Detail: "The recipient's inbox holds as much as it may."}
	StoreUnavailable    = Problem{Code: "store-unavailable", Status: http.StatusServiceUnavailable, Close: 1013, Retry: true, Err: inbox.ErrUnavailable, Detail: "The inboxes cannot be reached at the moment."}
	ServerFull          = Problem{Code: "server-full", Status: http.StatusServiceUnavailable, Close: 1013, Retry: true, Err: inbox.ErrServerFull, Detail: "The server holds as much as it may."}
	Draining            = Problem{Code: "draining", Status: http.StatusServiceUnavailable, Close: 1012, Retry: true, Err: inbox.ErrDraining, Detail: "The server is about to stop; another takes over, or it comes back."}
)

// All is every problem, in the order of the statuses. Of the problems with the same
// close code, the first one is what a client takes it for.
var All = []Problem{
	BadRequest, BadCredentials, BadRecipient, BadCursor, BadKey, Unauthorized, ForbiddenOrigin, ForbiddenNavigation,
	NoSuchInbox, MethodNotAllowed, TooSlow, Replaced, Closed, TooLarge, EncodedBody, UpgradeRequired, RateLimited,
	InboxFull, StoreUnavailable, ServerFull, Draining,
}

// ShareFull is InboxFull for a sender that has filled its part of the inbox. A client
// need not tell them apart.
var ShareFull = Problem{Code: InboxFull.Code, Status: InboxFull.Status, Retry: true, Err: inbox.ErrShare, Detail: "You have filled your part of the recipient's inbox: the rest is for other senders, until the recipient reads."}

// What a client finds out by itself: no server answers these.
var (
	NotInbox  = Problem{Code: "not-inbox", Detail: "Something other than an inbox server answered."}
	ProxyAuth = Problem{Code: "proxy-auth", Detail: "A proxy asked for its own credentials."}
)

// framing is what RFC 6455 itself has close codes for, and what each means here.
var framing = map[int]Problem{
	1002: BadRequest, // against RFC 6455
	1003: BadRequest, // a binary frame
	1007: BadRequest, // not UTF-8, or not a JSON object
	1008: TooSlow,    // a message that took too long to arrive
}

// OfCode returns the problem with a code, and false for a code of a later version.
func OfCode(code string) (Problem, bool) {
	for _, p := range All {
		if p.Code == code {
			return p, true
		}
	}
	return Problem{}, false
}

// OfClose returns what the close code of a socket means, and false for a code that is
// not in the protocol. The reason of a close frame is for people.
func OfClose(code int) (Problem, bool) {
	if p, ok := framing[code]; ok {
		return p, true
	}
	for _, p := range All {
		if p.Close == code && code != 0 {
			return p, true
		}
	}
	return Problem{}, false
}

// RetryStatus reports whether a request that was answered with a status can succeed
// later. It is for answers without a code of the catalogue, as from a proxy.
func RetryStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusNetworkAuthenticationRequired:
		return false
	}
	return status >= 500
}
