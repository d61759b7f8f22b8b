package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"inbox"
)

const (
	requestTimeout = 15 * time.Second // of a request that does not wait
	maxAnswer      = 64 << 20         // bytes read from a successful response
	maxProblem     = 64 << 10         // bytes read from an error response
)

type request struct {
	method, query string
	path          string // relative to Client.base, if it is not the inbox's own URL
	key           string // Idempotency-Key
	json          bool   // accept JSON
	success       func(answer) bool
	body          []byte
	wait          time.Duration // how long the server may hold the request
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request. It returns an *Error unless the response is a success from an inbox
// server.
func (c *Client) do(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.bound+r.wait)
	defer cancel()
	url := c.url
	if r.path != "" {
		url = c.base.JoinPath(r.path).String()
	}
	if r.query != "" {
		url += "?" + r.query
	}
	req, err := http.NewRequestWithContext(ctx, r.method, url, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", c.authorization)
	if r.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/octet-stream")
		if r.key != "" {
			req.Header.Set("Idempotency-Key", r.key)
		}
		if len(r.body) > maxSocketBody {
			req.Header.Set("Expect", "100-continue") // if the body is too large, the server refuses it before it is sent
		}
	}
	if r.json {
		req.Header.Set("Accept", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, failure(err)
	}
	defer resp.Body.Close()
	most := int64(maxProblem)
	if resp.StatusCode == http.StatusOK {
		most = maxAnswer
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return answer{}, failure(err)
	}
	switch {
	case resp.StatusCode >= 300:
		return answer{}, errorOf(resp.StatusCode, resp.Header, body)
	case int64(len(body)) > most:
		return answer{}, errLarge
	}
	a := answer{resp.StatusCode, resp.Header, body}
	// Every response of an inbox server is marked no-store. Login pages, the start pages
	// of web sites and servers that accept everything are not.
	if !strings.Contains(strings.ToLower(a.header.Get("Cache-Control")), "no-store") || !r.success(a) {
		return answer{}, notInbox(a)
	}
	return a, nil
}

// The successful responses of the protocol.
func isSent(a answer) bool { return a.status == http.StatusOK && len(a.body) == 0 }
func isDone(a answer) bool { return a.status == http.StatusNoContent }

// isEmpty recognizes a response without messages, which always has a cursor.
func isEmpty(a answer) bool { return a.status == http.StatusNoContent && a.hasCursor() }

// isBatch recognizes a response to a poll, with or without messages.
func isBatch(a answer) bool {
	return isEmpty(a) || a.status == http.StatusOK && a.hasCursor() && mediaType(a.header) == "application/json"
}

func (a answer) hasCursor() bool {
	_, err := inbox.ParseCursor(a.header.Get("Inbox-Cursor"))
	return err == nil
}

// acknowledge sends an acknowledgement and waits for the server to confirm it. It
// receives nothing and does not replace another receiver.
func (c *Client) acknowledge(ctx context.Context, upTo inbox.Cursor) error {
	_, err := c.whileOpen(func() (answer, error) {
		return c.do(ctx, request{method: http.MethodGet, query: "after=" + upTo.String() + "&limit=0", success: isEmpty})
	})
	return err
}

// whileOpen runs a request that could reopen the inbox. Close waits for it, and no such
// request begins after Close.
func (c *Client) whileOpen(do func() (answer, error)) (answer, error) {
	c.inFlight.RLock()
	defer c.inFlight.RUnlock()
	if c.life.Err() != nil {
		return answer{}, inbox.ErrClosed
	}
	return do()
}
