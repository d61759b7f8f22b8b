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

// Send delivers a message to the inbox of the peer named to. It returns once the server
// has stored the message. Failed attempts are retried for [Config.RetryFor], and the
// message still arrives only once. Sends to the same recipient happen one at a time, in
// the order of the calls.
//
// If the body exceeds the server's limit (64 KiB by default), Send returns an [*Error]
// whose Code is too-large. If the recipient has no inbox, it returns [inbox.ErrNoInbox];
// see [Config.Wait]. If Send returns a [*RetryError] or the context's error, the message
// may or may not have arrived.
func (c *Client) Send(ctx context.Context, to string, body []byte) error {
	return c.SendDraft(ctx, to, inbox.Draft{Body: body})
}

// SendDraft does the same as [Client.Send] with an idempotency key chosen by the caller.
// Messages with the same sender, recipient, key and body arrive once, however often and
// from wherever they are sent. If d.Key is empty, a random key is used.
func (c *Client) SendDraft(ctx context.Context, to string, d inbox.Draft) error {
	if err := inbox.CheckID(to); err != nil {
		return fmt.Errorf("recipient: %w", err)
	}
	if d.Key == "" {
		d.Key = rand.Text()
	} else if err := inbox.CheckKey(d.Key); err != nil {
		return err
	}
	if c.life.Err() != nil {
		return inbox.ErrClosed
	}
	d.Body = bytes.Clone(d.Body) // net/http may still read it after Do has returned
	open, cancel := c.untilClosed(ctx)
	defer cancel()
	leave, err := c.lanes.enter(open, to)
	if err != nil {
		return ended(open, nil)
	}
	defer leave()
	// Close does not interrupt an attempt; it waits for it.
	return c.persist(open, true, func(context.Context) error { return c.sendOnce(ctx, to, d) })
}

// untilClosed returns a context that also ends when the Client is closed.
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

// lanes serialize requests by name: the sends to each recipient, or the joins and leaves of each
// room. A lane exists only while it has users.
type lanes struct {
	mu  sync.Mutex // guards all and its lanes
	all map[string]*lane
}

type lane struct {
	turn  chan struct{} // full while a request is active
	users int
}

// enter waits for a turn in the order of the calls. The caller must call leave
// afterwards.
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
