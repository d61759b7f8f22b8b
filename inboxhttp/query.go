package inboxhttp

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"inbox"
	"inbox/internal/browser"
	"inbox/internal/problem"
)

func badRequest(detail string) error {
	return problem.BadRequest.With(detail)
}

// query parses the query string. It fails if one of the names occurs more than once.
func query(r *http.Request, names ...string) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("The query is not properly encoded.")
	}
	for _, name := range names {
		if len(q[name]) > 1 {
			return nil, badRequest("The query has the parameter " + name + " more than once.")
		}
	}
	return q, nil
}

// pollQuery is the decoded query of a GET.
type pollQuery struct {
	pop   bool // no after: remove what is delivered
	after inbox.Cursor
	limit int
	wait  time.Duration
	json  bool

	events bool // a raw poll wants events too
}

func (h *Handler) pollQuery(r *http.Request, json bool) (pollQuery, error) {
	q, err := query(r, "after", "wait", "limit", "events")
	if err != nil {
		return pollQuery{}, err
	}
	if !q.Has("after") && (len(r.Header["Last-Event-Id"]) > 0 || hasForeignPosition(q)) {
		return pollQuery{}, badRequest("A poll gives its position in the parameter after. Without after, it would remove messages.")
	}
	p := pollQuery{pop: !q.Has("after"), limit: 1, wait: h.MaxWait, json: json}
	if !p.pop {
		if p.after, err = inbox.ParseCursor(q.Get("after")); err != nil {
			return pollQuery{}, err
		}
	}
	if p.json {
		p.limit = min(100, h.MaxMessages)
	}
	if q.Has("limit") {
		n, err := number(q.Get("limit"), "limit", h.MaxMessages)
		if err != nil {
			return pollQuery{}, err
		}
		if p.json || n == 0 {
			p.limit = n
		}
	}
	switch q.Get("events") {
	case "1":
		p.events = true
	case "", "0":
	default:
		return pollQuery{}, badRequest("The query parameter events must be 0 or 1.")
	}
	if q.Has("wait") {
		seconds, err := number(q.Get("wait"), "wait", int(h.MaxWait/time.Second)+1)
		if err != nil {
			return pollQuery{}, err
		}
		p.wait = min(time.Duration(seconds)*time.Second, h.MaxWait)
	}
	return p, nil
}

// hasForeignPosition reports whether a parameter looks like a position in the terms of
// another protocol. Without after, a GET removes messages, which such a client does not
// intend.
func hasForeignPosition(q url.Values) bool {
	for name := range q {
		name = plainName(name)
		for _, word := range [...]string{"after", "cursor", "eventid", "lastevent", "lastid", "lastmessage", "offset", "position", "resume", "since"} {
			if strings.Contains(name, word) {
				return true
			}
		}
	}
	return false
}

// lastEventIDs returns the values of query parameters that stand in for Last-Event-ID.
// EventSource polyfills cannot set headers, and they spell the parameter in different
// ways.
func lastEventIDs(q url.Values) (values []string) {
	for name, given := range q {
		if strings.Contains(plainName(name), "lasteventid") {
			values = append(values, given...)
		}
	}
	return values
}

// plainName returns the ASCII letters of name in lower case and drops everything else.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return -1
	}, name)
}

// number parses a whole number and caps it at most.
func number(s, name string, most int) (int, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, badRequest("The query parameter " + name + " is not a whole number.")
		}
	}
	if s == "" {
		return 0, badRequest("The query parameter " + name + " is empty.")
	}
	n, err := strconv.Atoi(s)
	if err != nil { // only digits, so it is out of range
		return most, nil
	}
	return min(n, most), nil
}

// These are the answer formats that Accept can select. A bare */* selects neither, since
// the raw form is best for curl.
const (
	applicationJSON = "application/json"
	eventStream     = "text/event-stream"
)

// accept returns the first of the two formats that Accept names with a quality above 0,
// or "".
func accept(header http.Header) string {
	for media := range browser.Accepted(header) {
		if media == applicationJSON || media == eventStream {
			return media
		}
	}
	return ""
}
