// Package problem is the catalogue of the protocol's errors. For each error it has the
// code, the HTTP status, the close code of a socket, whether clients should retry, and a
// sentence for people.
//
// The server answers with these errors and the Go client parses them. Tests compare the
// catalogue with docs/protocol.md, docs/openapi.yaml and web/sdk/src/errors.ts.
package problem

import (
	"net/http"
	"time"

	"inbox"
)

// A Problem is one error of the protocol (RFC 9457). It never quotes client input.
type Problem struct {
	Code   string // for programs
	Status int    // HTTP status; also sent in a socket's error frame
	Close  int    // close code of a socket that this error ends; 0 if it ends none
	Retry  bool   // whether the same request can succeed later
	Detail string // a sentence for people
	Err    error  // the matching error of package inbox, or nil

	RetryAfter time.Duration // how long the server asks the client to wait; 0 leaves that to the client
}

func (p Problem) Error() string { return p.Code }

// Unwrap returns the matching error of package inbox, or nil.
func (p Problem) Unwrap() error { return p.Err }

// With returns a copy of p with a more specific detail.
func (p Problem) With(detail string) Problem {
	p.Detail = detail
	return p
}

// After returns a copy of p that asks the client to wait for the given time.
func (p Problem) After(wait time.Duration) Problem {
	p.RetryAfter = wait
	return p
}

// Seconds returns RetryAfter in seconds, rounded up, for the Retry-After header.
func (p Problem) Seconds() int { return int((p.RetryAfter + time.Second - 1) / time.Second) }

// The catalogue. TooSlow also ends a socket whose first frame does not arrive in time.
var (
	BadRequest          = Problem{Code: "bad-request", Status: http.StatusBadRequest, Close: 4400, Detail: "The request violates the protocol."}
	BadCredentials      = Problem{Code: "bad-credentials", Status: http.StatusBadRequest, Close: 4400, Detail: "The id or the password is malformed."}
	BadRecipient        = Problem{Code: "bad-recipient", Status: http.StatusBadRequest, Detail: "The recipient is not one valid id."}
	BadCursor           = Problem{Code: "bad-cursor", Status: http.StatusBadRequest, Close: 4400, Err: inbox.ErrBadCursor, Detail: "This server never issued that cursor."}
	BadKey              = Problem{Code: "bad-key", Status: http.StatusBadRequest, Detail: "The Idempotency-Key is malformed."}
	Unauthorized        = Problem{Code: "unauthorized", Status: http.StatusUnauthorized, Close: 4401, Err: inbox.ErrUnauthorized, Detail: "Wrong password for this inbox."}
	ForbiddenOrigin     = Problem{Code: "forbidden-origin", Status: http.StatusForbidden, Detail: "Pages of this origin may not use this server."}
	ForbiddenNavigation = Problem{Code: "forbidden-navigation", Status: http.StatusForbidden, Detail: "An inbox is an API for programs. It cannot be opened, linked to or embedded as a page."}
	NoSuchInbox         = Problem{Code: "no-such-inbox", Status: http.StatusNotFound, Err: inbox.ErrNoInbox, Detail: "The recipient has no inbox: it has not connected yet, or not for a while."}
	NoSuchCode          = Problem{Code: "no-such-code", Status: http.StatusNotFound, Err: inbox.ErrNoCode, Detail: "There is no such code: it was used, has expired, or is mistyped."}
	MethodNotAllowed    = Problem{Code: "method-not-allowed", Status: http.StatusMethodNotAllowed, Detail: "This URL supports only the methods in the Allow header."}
	TooSlow             = Problem{Code: "too-slow", Status: http.StatusRequestTimeout, Close: 4408, Retry: true, Detail: "The body took too long to arrive."}
	Replaced            = Problem{Code: "replaced", Status: http.StatusConflict, Close: 4409, Err: inbox.ErrReplaced, Detail: "A newer receiver has taken over this inbox."}
	Closed              = Problem{Code: "closed", Status: http.StatusConflict, Close: 4410, Err: inbox.ErrClosed, Detail: "The inbox was closed by its owner."}
	RoomFull            = Problem{Code: "room-full", Status: http.StatusConflict, Err: inbox.ErrRoomFull, Detail: "The room has as many members as this server allows."}
	TooManyRooms        = Problem{Code: "too-many-rooms", Status: http.StatusConflict, Err: inbox.ErrTooManyRooms, Detail: "You are in as many rooms as this server allows."}
	TooLarge            = Problem{Code: "too-large", Status: http.StatusRequestEntityTooLarge, Close: 4413, Detail: "The body is larger than this server accepts."}
	EncodedBody         = Problem{Code: "encoded-body", Status: http.StatusUnsupportedMediaType, Detail: "The server does not decode bodies: send it without a Content-Encoding."}
	UpgradeRequired     = Problem{Code: "bad-request", Status: http.StatusUpgradeRequired, Detail: "This server supports version 13 of the WebSocket protocol only."}
	RateLimited         = Problem{Code: "rate-limited", Status: http.StatusTooManyRequests, Close: 4429, Retry: true, Err: inbox.ErrRateLimited, Detail: "Too many requests or wrong passwords."}
	InboxFull           = Problem{Code: "inbox-full", Status: http.StatusServiceUnavailable, Retry: true, Err: inbox.ErrFull, Detail: "The recipient's inbox is full."}
	StoreUnavailable    = Problem{Code: "store-unavailable", Status: http.StatusServiceUnavailable, Close: 1013, Retry: true, Err: inbox.ErrUnavailable, Detail: "The inboxes cannot be reached at the moment."}
	ServerFull          = Problem{Code: "server-full", Status: http.StatusServiceUnavailable, Close: 1013, Retry: true, Err: inbox.ErrServerFull, Detail: "The server is full."}
	Draining            = Problem{Code: "draining", Status: http.StatusServiceUnavailable, Close: 1012, Retry: true, Err: inbox.ErrDraining, Detail: "The server is about to stop; retry, and another server or this one will answer."}
)

// All lists every problem, ordered by status. When several share a close code, it stands
// for the first of them.
var All = []Problem{
	BadRequest, BadCredentials, BadRecipient, BadCursor, BadKey, Unauthorized, ForbiddenOrigin, ForbiddenNavigation,
	NoSuchInbox, NoSuchCode, MethodNotAllowed, TooSlow, Replaced, Closed, RoomFull, TooManyRooms, TooLarge, EncodedBody, UpgradeRequired, RateLimited,
	InboxFull, StoreUnavailable, ServerFull, Draining,
}

// ShareFull is the InboxFull of a sender that has filled its share of the inbox. Clients
// need not distinguish the two.
var ShareFull = Problem{Code: InboxFull.Code, Status: InboxFull.Status, Retry: true, Err: inbox.ErrShare, Detail: "You have filled your share of the recipient's inbox. The rest is reserved for other senders until the recipient reads."}

// Errors that a client detects itself. No server sends them.
var (
	NotInbox  = Problem{Code: "not-inbox", Detail: "Something other than an inbox server answered."}
	ProxyAuth = Problem{Code: "proxy-auth", Detail: "A proxy asked for its own credentials."}
)

// framing maps the close codes that RFC 6455 defines to their meaning in this protocol.
var framing = map[int]Problem{
	1002: BadRequest, // violates RFC 6455
	1003: BadRequest, // a binary frame
	1007: BadRequest, // not UTF-8, or not a JSON object
	1008: TooSlow,    // a message that took too long to arrive
}

// OfCode returns the problem with the given code. It reports false for an unknown code,
// which a later version of the protocol may define.
func OfCode(code string) (Problem, bool) {
	for _, p := range All {
		if p.Code == code {
			return p, true
		}
	}
	return Problem{}, false
}

// OfClose returns the problem that a socket's close code stands for. It reports false for
// a code that is not in the protocol. Clients ignore the reason in a close frame, which
// is for people.
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

// RetryStatus reports whether a request that was answered with this status can succeed
// later. It is for answers without a code of the catalogue, such as those of a proxy.
func RetryStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusNetworkAuthenticationRequired:
		return false
	}
	return status >= 500
}
