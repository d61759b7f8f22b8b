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

// query reads a query. Each of the names stands in it at most once.
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
			return nil, badRequest("The query holds " + name + " more than once.")
		}
	}
	return q, nil
}

// ask is what a GET asks for.
type ask struct {
	pop   bool // no after: remove what was delivered
	after inbox.Cursor
	limit int
	wait  time.Duration
	json  bool
}

func (h *Handler) ask(r *http.Request, json bool) (ask, error) {
	q, err := query(r, "after", "wait", "limit")
	if err != nil {
		return ask{}, err
	}
	if !q.Has("after") && (len(r.Header["Last-Event-Id"]) > 0 || misnamesPosition(q)) {
		return ask{}, badRequest("A poll says with after where it is: without it, it would remove messages.")
	}
	a := ask{pop: !q.Has("after"), limit: 1, wait: h.MaxWait, json: json}
	if !a.pop {
		if a.after, err = inbox.ParseCursor(q.Get("after")); err != nil {
			return ask{}, err
		}
	}
	if a.json {
		a.limit = min(100, h.MaxMessages)
	}
	if q.Has("limit") {
		n, err := number(q.Get("limit"), "limit", h.MaxMessages)
		if err != nil {
			return ask{}, err
		}
		if a.json || n == 0 {
			a.limit = n
		}
	}
	if q.Has("wait") {
		seconds, err := number(q.Get("wait"), "wait", int(h.MaxWait/time.Second)+1)
		if err != nil {
			return ask{}, err
		}
		a.wait = min(time.Duration(seconds)*time.Second, h.MaxWait)
	}
	return a, nil
}

// misnamesPosition reports whether a query names a position in the words of another
// protocol. A GET without a position removes messages, which its client cannot mean then.
func misnamesPosition(q url.Values) bool {
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

// lastEventIDs returns what a query has in place of the header Last-Event-ID. Polyfills
// of EventSource cannot set headers, and each has a spelling of its own.
func lastEventIDs(q url.Values) (values []string) {
	for name, given := range q {
		if strings.Contains(plainName(name), "lasteventid") {
			values = append(values, given...)
		}
	}
	return values
}

// plainName returns the ASCII letters of a name, in lower case.
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

// number reads a whole number, and cuts what is more than most.
func number(s, name string, most int) (int, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, badRequest("In the query, " + name + " is not a whole number.")
		}
	}
	if s == "" {
		return 0, badRequest("In the query, " + name + " is empty.")
	}
	n, err := strconv.Atoi(s)
	if err != nil { // only digits, so there are too many of them
		return most, nil
	}
	return min(n, most), nil
}

// The forms of an answer that Accept may name. A mere */* names none: the raw
// form is what curl shows best.
const (
	applicationJSON = "application/json"
	eventStream     = "text/event-stream"
)

// accept returns the first of the two that Accept names and does not refuse, or
// nothing.
func accept(header http.Header) string {
	for media := range browser.Accepted(header) {
		if media == applicationJSON || media == eventStream {
			return media
		}
	}
	return ""
}
