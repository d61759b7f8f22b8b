// Package client sends messages to the inboxes of other peers and receives those
// in its own.
//
//	c, err := client.New(client.Config{URL: "https://example.com/inbox", ID: "alice", Password: "…"})
//	err = c.Send(ctx, "bob", []byte("hello"))
//	for m, err := range c.All(ctx) { … } // acknowledged when the loop comes round
//
// What is behind it: messages come over a socket, or by long polls where a proxy
// lets no socket through. A connection that breaks is opened again at the place
// where it broke, and what comes twice is dropped. A send that may have failed is
// repeated with the same idempotency key, so that it arrives once. What all this is
// built on, and what a server promises, is in docs/protocol.md.
//
// # Errors
//
// What the server refuses is an [*Error], and also the error of package inbox
// that it stands for: errors.Is(err, inbox.ErrNoInbox). What was tried again in
// vain is a [*RetryError] around the last failure.
//
// An [*Error] with the code not-inbox says that something other than an inbox server
// answered, such as a web page; proxy-auth says that a proxy asked for its own
// credentials. Neither is retried.
//
// Receiving knows three kinds of errors. Most end it for good, such as
// [inbox.ErrReplaced], [inbox.ErrUnauthorized] and [inbox.ErrClosed]: every later
// Receive fails with the same one, and All ends. After a [*RetryError] (the
// server is away) and after [ErrReset] (messages may have been missed) it goes on
// as soon as it is asked again.
package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"inbox"
)

// Config says who receives, and where. Zero fields but the first three have
// defaults.
type Config struct {
	URL      string // of the server's inboxes, as in https://example.com/inbox
	ID       string // of this peer; see [inbox.CheckID]
	Password string // of its inbox: the first who comes with an id chooses it

	// HTTP makes the requests; http.DefaultClient. Its Timeout, or 15 s, is for
	// each request that does not wait; its Transport has to let an answer take
	// half a minute. Redirects are not followed, whatever its CheckRedirect says:
	// one that turned a send into a GET would take a message.
	HTTP *http.Client

	// After is the cursor of the last message that was processed earlier, as by
	// another Client. Receiving acknowledges it and goes on from there.
	After inbox.Cursor

	// RetryFor is how long a send, or a receive without contact to the server,
	// is tried again; 30 s. Negative: as long as the context lasts.
	RetryFor time.Duration

	// Wait is how long a send waits for a recipient that has no inbox yet.
	// Zero: it fails at once. Negative: as long as the context lasts.
	Wait time.Duration

	// PollOnly receives by long polls without trying a socket first.
	PollOnly bool

	// Log is told, at level debug, which transport is used and what is tried
	// again. It is never told an id, a password or a body. None.
	Log *slog.Logger
}

// String keeps the id and the password from being printed.
func (c Config) String() string { return "inbox client at " + c.URL }

// GoString does so for %#v.
func (c Config) GoString() string { return c.String() }

// LogValue does so for log/slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// A Client acts for one peer. It is safe for concurrent use.
//
// It connects when it is first used, and holds a connection while somebody
// receives, and for a minute after a Receive. Nothing has to be closed; Leave and
// Close do it at once.
type Client struct {
	url           string
	base          *url.URL // below which the URL and others are
	authorization string
	http          *http.Client
	bound         time.Duration // of a request that does not wait
	retryFor      time.Duration
	wait          time.Duration
	log           *slog.Logger

	life     context.Context // until Close
	end      context.CancelCauseFunc
	inFlight sync.RWMutex // held, for reading, by requests that would open the inbox

	lanes    lanes
	receiver receiver
	socket   atomic.Pointer[socket] // while one is open
	closing  sync.Mutex             // held by Close
}

// New checks the configuration. It does not connect.
func New(config Config) (*Client, error) {
	u, err := url.Parse(config.URL)
	port := 0
	if err == nil && u.Port() != "" {
		port, _ = strconv.Atoi(u.Port())
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("client: the URL cannot be read: %w", errors.Unwrap(err))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("client: the URL is not of the form https://example.com/inbox")
	case u.Port() != "" && (port < 1 || port > 65535):
		return nil, fmt.Errorf("client: the URL has port %s, want 1 to 65535", u.Port())
	case u.User != nil:
		return nil, errors.New("client: the URL holds credentials: they belong in ID and Password")
	case strings.ContainsAny(config.URL, "?#"):
		return nil, errors.New("client: the URL has a query or a fragment, which does not belong there")
	}
	if err := inbox.CheckID(config.ID); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if err := inbox.CheckPassword(config.Password); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c := &Client{
		url:           config.URL,
		base:          u.JoinPath(".."),
		authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte(config.ID+":"+config.Password)),
		http:          new(http.Client),
		bound:         requestTimeout,
		retryFor:      config.RetryFor,
		wait:          config.Wait,
		log:           config.Log,
	}
	if config.HTTP != nil {
		*c.http = *config.HTTP
	}
	if c.http.Timeout > 0 {
		c.bound, c.http.Timeout = c.http.Timeout, 0
	}
	if err := checkProxy(c.http, u); err != nil {
		return nil, err
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.retryFor == 0 {
		c.retryFor = 30 * time.Second
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.life, c.end = context.WithCancelCause(context.Background())
	c.receiver.init(c, config)
	return c, nil
}

// checkProxy asks for the proxy of a URL once. A setting that names none, such as a
// mistyped $HTTPS_PROXY, would fail every request.
func checkProxy(client *http.Client, u *url.URL) error {
	t, ok := client.Transport.(*http.Transport)
	if client.Transport == nil {
		t, ok = http.DefaultTransport.(*http.Transport)
	}
	if !ok || t.Proxy == nil {
		return nil
	}
	proxy, err := t.Proxy(&http.Request{Method: http.MethodGet, URL: u, Header: make(http.Header)})
	if err != nil {
		return errors.New("client: the proxy setting cannot be read: want a URL, as in http://proxy.example.com:3128")
	}
	if proxy != nil && !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, proxy.Scheme) {
		return fmt.Errorf("client: a proxy is http, https, socks5 or socks5h, not %q", proxy.Scheme)
	}
	return nil
}

// String keeps the password from being printed.
func (c *Client) String() string { return "inbox client at " + c.url }

// GoString does so for %#v.
func (c *Client) GoString() string { return c.String() }

// Close closes the inbox, with whatever it holds, and the client. Everything that
// waits, and every later call, fails with [inbox.ErrClosed].
//
// To end without closing the inbox, use Leave.
func (c *Client) Close(ctx context.Context) error {
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.life.Err() != nil {
		return nil
	}
	life := c.receiver.life()
	c.end(inbox.ErrClosed)
	c.receiver.fail(inbox.ErrClosed)
	// Nothing may reach the server after the DELETE: it would open the inbox again.
	idle := make(chan struct{})
	go func() {
		c.inFlight.Lock() // none begins any more
		defer c.inFlight.Unlock()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	err := c.delete(ctx, life)
	if err == nil && !c.receiver.endedInTime() {
		// It was not waiting at the inbox when that was closed. It may be by now, and have
		// opened another life.
		c.receiver.stop(true)
		err = c.delete(ctx, inbox.Cursor{})
	}
	c.receiver.stop(true)
	return err
}

// delete closes the inbox in the life of a cursor, or in any. A DELETE that names a life
// and arrives late closes nothing that was opened since.
func (c *Client) delete(ctx context.Context, life inbox.Cursor) error {
	query := ""
	if life != (inbox.Cursor{}) {
		query = "life=" + life.String()
	}
	return c.persist(ctx, false, func(ctx context.Context) error {
		_, err := c.do(ctx, request{method: http.MethodDelete, query: query, success: isDone})
		return err
	})
}
