// Package client is the Go client of an inbox server. It sends messages to the inboxes of
// other peers and receives the messages in its own.
//
//	c, err := client.New(client.Config{URL: "https://example.com/inbox", ID: "alice", Password: "…"})
//	err = c.Send(ctx, "bob", []byte("hello"))
//	for m, err := range c.All(ctx) { … } // each iteration acknowledges the message before
//
// The client receives over a WebSocket and falls back to long polls where a proxy blocks
// WebSockets. It reconnects by itself, resumes after the last message that it received, and
// drops duplicates. A send that may have failed is retried with the same idempotency key,
// so that it arrives once. Peers can find each other in rooms (see [Client.Join]), or by a code
// of six letters that a person reads out (see [Client.Invite]).
//
// The protocol underneath, and what a server guarantees, is described in docs/protocol.md.
//
// # Errors
//
// If the server refuses a request, the error is an [*Error]. It wraps the matching error of
// package inbox, so errors.Is(err, inbox.ErrNoInbox) works. If retries were exhausted or
// the context ended between them, the error is a [*RetryError] that wraps the last failure.
//
// Two codes of an [*Error] do not come from an inbox server, and neither is retried:
// not-inbox means that something else answered, such as a web page, and proxy-auth means
// that a proxy asks for its own credentials.
//
// Most errors end receiving for good, such as [inbox.ErrReplaced], [inbox.ErrUnauthorized]
// and [inbox.ErrClosed]: [Client.All] ends, and every later [Client.Receive] returns the
// same error. Receiving can continue after two others: a [*RetryError] (the server is
// unreachable) and [ErrReset] (messages may have been missed).
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

// Config configures a [Client]. URL, ID and Password are required; every other field has
// a default.
type Config struct {
	URL      string // inbox endpoint of the server, such as https://example.com/inbox
	ID       string // this peer's id; see [inbox.CheckID]
	Password string // of this peer's inbox; the first peer to use an id sets its password

	// HTTP makes the requests. The default is http.DefaultClient. Its Timeout (default 15
	// s) applies to each request that does not wait; its Transport must allow responses
	// that take 30 s. The client never follows redirects and ignores CheckRedirect: a
	// redirect that turned a send into a GET would remove a message from the inbox.
	HTTP *http.Client

	// After is the cursor of the last message that an earlier Client processed. Receiving
	// acknowledges that message and resumes after it. The default is the start of the
	// inbox.
	After inbox.Cursor

	// RetryFor bounds how long a send is retried, and how long a receive waits while the
	// server is unreachable. The default is 30 s. A negative value retries until the
	// context ends.
	RetryFor time.Duration

	// Wait is how long a send waits for a recipient that has no inbox yet. By default
	// such a send fails immediately. A negative value waits until the context ends.
	Wait time.Duration

	// PollOnly makes the client receive by long polls only, without trying a WebSocket
	// first.
	PollOnly bool

	// Log receives records at debug level about the transport in use and about retries.
	// They never contain ids, passwords or bodies. By default nothing is logged.
	Log *slog.Logger
}

// String returns a description without the id and the password.
func (c Config) String() string { return "inbox client at " + c.URL }

// GoString returns the same as String, so that %#v does not print the password.
func (c Config) GoString() string { return c.String() }

// LogValue returns the same as String, so that log/slog does not print the password.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// A Client sends and receives as one peer. It is safe for concurrent use.
//
// A Client connects on first use. It stays connected while a call receives, and for a
// minute after the last [Client.Receive]. There is no need to close a Client;
// [Client.Leave] and [Client.Close] disconnect immediately.
type Client struct {
	url           string
	id            string
	base          *url.URL // parent of url; ice and outcome are below it
	authorization string
	http          *http.Client
	bound         time.Duration // timeout of a request that does not wait
	retryFor      time.Duration
	wait          time.Duration
	log           *slog.Logger

	life     context.Context // canceled by Close
	end      context.CancelCauseFunc
	inFlight sync.RWMutex // read-locked by requests that could open the inbox

	lanes    lanes
	receiver receiver
	rooms    rooms
	socket   atomic.Pointer[socket] // nil unless one is open
	closing  sync.Mutex             // serializes Close
}

// New returns a Client for config. It returns an error if the URL, the ID, the password
// or the proxy setting is invalid. It does not connect.
func New(config Config) (*Client, error) {
	u, err := url.Parse(config.URL)
	port := 0
	if err == nil && u.Port() != "" {
		port, _ = strconv.Atoi(u.Port())
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("client: invalid URL: %w", errors.Unwrap(err))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("client: the URL must look like https://example.com/inbox")
	case u.Port() != "" && (port < 1 || port > 65535):
		return nil, fmt.Errorf("client: the URL has port %s, want 1 to 65535", u.Port())
	case u.User != nil:
		return nil, errors.New("client: the URL contains credentials (use ID and Password instead)")
	case strings.ContainsAny(config.URL, "?#"):
		return nil, errors.New("client: the URL must not have a query or a fragment")
	}
	if err := inbox.CheckID(config.ID); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if err := inbox.CheckPassword(config.Password); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c := &Client{
		url:           config.URL,
		id:            config.ID,
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

// checkProxy validates the proxy setting for u. A setting that is not a usable URL, such
// as a mistyped $HTTPS_PROXY, would make every request fail.
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
		return errors.New("client: invalid proxy setting: want a URL such as http://proxy.example.com:3128")
	}
	if proxy != nil && !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, proxy.Scheme) {
		return fmt.Errorf("client: proxy scheme %q, want http, https, socks5 or socks5h", proxy.Scheme)
	}
	return nil
}

// String returns a description without the password.
func (c *Client) String() string { return "inbox client at " + c.url }

// GoString returns the same as String, so that %#v does not print the password.
func (c *Client) GoString() string { return c.String() }

// Close closes the inbox and discards the messages in it. Calls that are waiting and all
// later calls, except [Client.Report], fail with [inbox.ErrClosed]. Close returns an
// error if the server did not confirm the close.
//
// To disconnect and keep the inbox, use [Client.Leave].
func (c *Client) Close(ctx context.Context) error {
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.life.Err() != nil {
		return nil
	}
	life := c.receiver.life()
	c.end(inbox.ErrClosed)
	c.receiver.fail(inbox.ErrClosed)
	// No request may reach the server after the DELETE, since it would reopen the inbox.
	idle := make(chan struct{})
	go func() {
		c.inFlight.Lock() // no request begins after this
		defer c.inFlight.Unlock()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	err := c.delete(ctx, life)
	if err == nil && !c.receiver.endedInTime() {
		// The receiver was not waiting at the server when the inbox was closed. Its
		// request may have arrived since and reopened the inbox under a new life, so
		// close it again.
		c.receiver.stop(true)
		err = c.delete(ctx, inbox.Cursor{})
	}
	c.receiver.stop(true)
	return err
}

// delete closes the inbox in the given life or, with a zero cursor, in any life. A
// delayed DELETE that names a life cannot close an inbox that was opened since.
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
