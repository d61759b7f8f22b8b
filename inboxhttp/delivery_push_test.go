package inboxhttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// The transports that push messages, as connections for the delivery cases.

// pushed is the common part of those connections. The first receive opens the connection.
type pushed struct {
	ctx    context.Context
	cancel context.CancelFunc
	came   chan event // closed at the end
	open   func() error
	err    error // from opening the connection
	opened bool

	patience time.Duration

	opening chan struct{} // holds a token while no goroutine opens the connection
	running atomic.Bool   // set once ended will be closed
	ended   chan struct{}
	settle  func() // waits until the server has noticed the end, if that matters
}

func newPushed(s *server) *pushed {
	c := &pushed{patience: s.patience(), came: make(chan event, 1<<12), ended: make(chan struct{}), settle: func() {}}
	c.ctx, c.cancel = context.WithCancel(s.Context())
	c.opening = make(chan struct{}, 1)
	c.opening <- struct{}{}
	return c
}

func (c *pushed) attached() bool { return c.opened }

func (c *pushed) leave() {
	c.cancel()
	token := <-c.opening // after any opening in progress
	defer func() { c.opening <- token }()
	if c.running.Load() {
		<-c.ended
		c.settle()
	}
}

func (c *pushed) next() (event, error) {
	if !c.opened {
		c.opened = true
		token := <-c.opening
		err := c.open()
		c.opening <- token
		if err != nil {
			if c.ctx.Err() != nil {
				return event{}, errLeft
			}
			return event{}, err
		}
	}
	select {
	case e, ok := <-c.came:
		if c.ctx.Err() != nil {
			return event{}, errLeft
		}
		if !ok {
			return event{}, fmt.Errorf("the connection ended without a last event: %w", c.err)
		}
		return e, nil
	case <-c.ctx.Done():
		return event{}, errLeft
	case <-time.After(c.patience):
		return event{}, fmt.Errorf("nothing arrived in %v", c.patience)
	}
}

// connectStream returns a function that opens a stream: a popping one, or one that starts
// after a position, given as Last-Event-ID if it is a cursor.
func connectStream(pops bool) func(*server, string, string) connection {
	return func(s *server, id, after string) connection {
		r := request{id: id, client: s.newClient()}
		if !pops && after == "0" {
			r.query = "?after=0"
		} else if !pops {
			r.header = lastEventID(after)
		}
		c := newPushed(s)
		c.open = func() error {
			e, err := s.tryStream(r)
			if err != nil {
				return err
			}
			if pops {
				c.settle = e.settle
			}
			c.running.Store(true)
			context.AfterFunc(c.ctx, e.leave)
			go func() {
				defer close(c.ended)
				defer close(c.came)
				for came := range e.came {
					if came.kind == anEvent {
						c.came <- eventOf(came.name, came.data)
					}
				}
				c.err = e.err
			}()
			return nil
		}
		return c
	}
}

func eventOf(name, data string) event {
	switch name {
	case "message":
		var m message
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			return event{code: err.Error()}
		}
		return event{code: name, from: m.From, body: m.content(), time: m.Time, cursor: m.Cursor}
	case "reset":
		return event{code: name, cursor: "0"}
	}
	return event{code: name}
}

// socketConnection acknowledges only when its window is full.
type socketConnection struct {
	*pushed
	ack     func(cursor string)
	unacked int
}

func connectSocket(s *server, id, after string) connection {
	c := &socketConnection{pushed: newPushed(s)}
	c.open = func() error {
		w, a, err := s.tryShake(handshake{id: id, query: "?after=" + after})
		if err != nil {
			return err
		}
		if w == nil {
			return fmt.Errorf("the handshake was answered with %d %s", a.status, a.body)
		}
		c.running.Store(true)
		context.AfterFunc(c.ctx, func() { w.conn.Close() })
		c.ack = func(cursor string) { w.say(`{"type":"ack","after":%q}`, cursor) }
		go func() {
			defer close(c.ended)
			defer close(c.came)
			for f := range w.frames {
				switch f.op {
				case opText:
					var m said
					if err := json.Unmarshal(f.payload, &m); err != nil {
						c.came <- event{code: err.Error()}
					} else if m.Reset != nil {
						c.came <- eventOf("reset", "")
					} else if m.Type == "message" {
						c.came <- eventOf("message", string(f.payload))
					}
				case opClose:
					c.came <- event{code: codeOfClose[closeCode(f)]}
				}
			}
		}()
		return nil
	}
	return c
}

var codeOfClose = map[int]string{4409: "replaced", 4410: "closed", 1012: "draining"}

func (c *socketConnection) next() (event, error) {
	e, err := c.pushed.next()
	if e.code == "message" {
		if c.unacked++; c.unacked == 32 {
			c.unacked = 0
			c.ack(e.cursor)
		}
	}
	return e, err
}

// acknowledge acknowledges without receiving anything.
func (s *server) acknowledge(id, cursor string) {
	s.Helper()
	s.do(request{id: id, query: "?limit=0&after=" + cursor}).want(http.StatusNoContent)
}

// isPopStream reports whether a transport may remove messages that its client has not yet
// taken.
func isPopStream(t transport) bool { return !t.acknowledges && strings.HasPrefix(t.name, "stream") }
