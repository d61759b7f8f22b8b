package inboxhttp_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
)

// A transport is a way to receive. delivery_test.go runs every case over each transport
// in the table below.
type transport struct {
	name string
	// acknowledges: messages stay until the connection asks for later ones. Otherwise it
	// pops.
	acknowledges bool
	// waits: the inbox has a receiver even between two messages.
	waits bool
	// connect starts receiving at the inbox of id, after a cursor if the transport
	// acknowledges.
	connect func(s *server, id, after string) connection
}

var transports = []transport{
	{"poll, popping", false, false, connectPoll("?wait=0&limit=1", "")},
	{"poll, acknowledging", true, false, connectPoll("?wait=0&limit=7", "&after=")},
	{"long poll, popping", false, true, connectPoll("?wait=25&limit=1", "")},
	{"long poll, acknowledging", true, true, connectPoll("?wait=25&limit=7", "&after=")},
	{"stream, popping", false, true, connectStream(true)},
	{"stream, acknowledging", true, true, connectStream(false)},
	{"socket", true, true, connectSocket},
}

// A connection receives at one inbox. It is for use by a single goroutine.
type connection interface {
	// next returns the next event.
	next() (event, error)
	// leave drops the connection without closing it in order.
	leave()
}

// event is a message or another event of a receiver. The connection continues only after
// a message or a reset.
type event struct {
	code   string // message, reset, replaced, closed, draining
	from   string
	body   string
	time   string
	cursor string // where to resume after this event
}

// errLeft is what next returns after leave.
var errLeft = errors.New("the connection was left")

// errNothing is what next returns when nothing arrives in time.
var errNothing = errors.New("nothing came")

// pollConnection receives by polling.
type pollConnection struct {
	s      *server
	client *http.Client // its own client, since two popping connections may get the same message
	id     string
	query  string
	acks   bool
	after  string
	queue  []event
	since  time.Time // of the first of consecutive empty answers
	ctx    context.Context
	cancel context.CancelFunc
}

func connectPoll(query, after string) func(*server, string, string) connection {
	return func(s *server, id, position string) connection {
		c := &pollConnection{s: s, client: s.newClient(), id: id, query: query + after, acks: after != "", after: position}
		c.ctx, c.cancel = context.WithCancel(s.Context())
		return c
	}
}

func (c *pollConnection) leave() { c.cancel() }

func (c *pollConnection) next() (event, error) {
	for len(c.queue) == 0 {
		if err := c.ask(); err != nil {
			return event{}, err
		}
	}
	e := c.queue[0]
	c.queue = slices.Delete(c.queue, 0, 1)
	if c.acks && e.cursor != "" {
		c.after = e.cursor
	}
	return e, nil
}

func (c *pollConnection) ask() error {
	r := request{id: c.id, query: c.query, client: c.client, header: http.Header{"Accept": {"application/json"}}}
	if c.acks {
		r.query += c.after
	}
	a, err := c.s.try(c.ctx, r)
	if c.ctx.Err() != nil {
		return errLeft
	}
	if err != nil {
		return err
	}
	if a.header.Get("Inbox-Reset") != "" {
		c.queue = append(c.queue, event{code: "reset", cursor: "0"})
	}
	switch a.status {
	case http.StatusOK:
		c.since = time.Time{}
		b, err := parseBatch(a.body)
		if err != nil {
			return err
		}
		for _, m := range b.Messages {
			c.queue = append(c.queue, event{code: "message", from: m.From, body: m.content(), time: m.Time, cursor: m.Cursor})
		}
	case http.StatusNoContent:
		if c.since.IsZero() {
			c.since = time.Now()
		} else if time.Since(c.since) > c.s.patience() {
			return errNothing
		}
		if c.query[:7] == "?wait=0" {
			time.Sleep(c.s.pollPause)
		}
	default:
		c.queue = append(c.queue, event{code: a.code})
	}
	return nil
}
