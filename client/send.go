package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"inbox"
)

// Send puts a message into the inbox of the peer called to, and returns when it is
// there. What may have failed is tried again; the message arrives once all the
// same. Sends to one recipient go one after the other.
//
// A body is at most what the server takes, 64 KiB unless it was told otherwise: the
// Code of the [*Error] is too-large then. If the recipient has no inbox, errors.Is(err,
// [inbox.ErrNoInbox]); see also [Config.Wait]. After a [*RetryError], or when ctx ends, the message may have
// arrived or not.
func (c *Client) Send(ctx context.Context, to string, body []byte) error {
	return c.SendDraft(ctx, to, inbox.Draft{Body: body})
}

// SendDraft is Send with a key of the caller's choice: a message with the same
// recipient, key and body arrives once, however often and from wherever it is
// sent. Send chooses a random one.
func (c *Client) SendDraft(ctx context.Context, to string, d inbox.Draft) error {
	if err := inbox.CheckID(to); err != nil {
		return fmt.Errorf("the recipient: %w", err)
	}
	if d.Key == "" {
		d.Key = rand.Text()
	} else if err := inbox.CheckKey(d.Key); err != nil {
		return err
	}
	if c.life.Err() != nil {
		return inbox.ErrClosed
	}
	d.Body = bytes.Clone(d.Body) // net/http may read it after it has given up
	open, cancel := c.untilClosed(ctx)
	defer cancel()
	leave, err := c.lanes.enter(open, to)
	if err != nil {
		return ended(open, nil)
	}
	defer leave()
	// An attempt is not cut off by Close, which waits for it.
	return c.persist(open, true, func(context.Context) error { return c.sendOnce(ctx, to, d) })
}

// untilClosed returns a context that also ends with Close.
func (c *Client) untilClosed(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.life, func() { cancel(inbox.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

func (c *Client) sendOnce(ctx context.Context, to string, d inbox.Draft) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.inFlight.RLock()
	defer c.inFlight.RUnlock()
	if c.life.Err() != nil {
		return inbox.ErrClosed
	}
	if s := c.socket.Load(); s != nil && len(d.Body) <= maxSocketBody {
		err := s.send(ctx, to, d)
		if err == nil {
			c.log.Debug("sent", "transport", "socket")
		}
		if !errors.Is(err, errSocketGone) {
			return err
		}
	}
	_, err := c.do(ctx, request{
		method:  http.MethodPost,
		query:   "to=" + url.QueryEscape(to),
		key:     d.Key,
		body:    d.Body,
		success: isSent,
	})
	if err == nil {
		c.log.Debug("sent", "transport", "request")
	}
	return err
}

// lanes let one send after the other to each recipient. A lane is there as long
// as somebody is in it.
type lanes struct {
	mu  sync.Mutex // guards what follows
	all map[string]*lane
}

type lane struct {
	turn  chan struct{} // holds one while somebody sends
	users int
}

// enter waits for its turn, in the order of the calls, and returns how to end it.
func (l *lanes) enter(ctx context.Context, to string) (leave func(), err error) {
	l.mu.Lock()
	mine := l.all[to]
	if mine == nil {
		mine = &lane{turn: make(chan struct{}, 1)}
		if l.all == nil {
			l.all = make(map[string]*lane)
		}
		l.all[to] = mine
	}
	mine.users++
	l.mu.Unlock()
	forget := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(l.all, to)
		}
	}
	select {
	case mine.turn <- struct{}{}:
		return func() { <-mine.turn; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}
