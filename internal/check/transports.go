package check

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// waits is how long the long poll waits, in seconds.
const waits = 2

// transports checks each way in which a message can arrive.
func (c *checker) transports(ctx context.Context) {
	a, b := newPeer(), newPeer()
	defer c.leave(ctx, a, b)
	c.do(ctx, "poll", func(ctx context.Context) Result { return c.poll(ctx, a, b) })
	c.do(ctx, "long poll", func(ctx context.Context) Result { return c.longPoll(ctx, a) })
	c.do(ctx, "stream", func(ctx context.Context) Result { return c.stream(ctx, a, b) })
	c.do(ctx, "socket", func(ctx context.Context) Result { return c.socket(ctx, a, b) })
}

// leave closes the inboxes, even after an interrupt.
func (c *checker) leave(ctx context.Context, peers ...peer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, p := range peers {
		if req, err := c.request(ctx, http.MethodDelete, "inbox", nil, &p, nil); err == nil {
			if resp, err := c.http.Do(req); err == nil {
				resp.Body.Close()
			}
		}
	}
}

func (c *checker) request(ctx context.Context, method, path string, query url.Values, p *peer, body []byte) (*http.Request, error) {
	u := *c.base
	u.Path += path
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err == nil && p != nil {
		req.SetBasicAuth(p.id, p.password)
	}
	return req, err
}

func (c *checker) get(ctx context.Context, path string, query url.Values, p *peer) (*http.Response, error) {
	req, err := c.request(ctx, http.MethodGet, path, query, p, nil)
	if err != nil {
		return nil, err
	}
	return c.http.Do(req)
}

// send sends a random text and returns it.
func (c *checker) send(ctx context.Context, from, to peer) (text string, r *Result) {
	text = rand.Text()
	req, err := c.request(ctx, http.MethodPost, "inbox", url.Values{"to": {to.id}}, &from, []byte(text))
	if err != nil {
		r := noAnswer(err)
		return "", &r
	}
	resp, err := c.http.Do(req)
	if err != nil {
		r := noAnswer(err)
		return "", &r
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r := refused("A message was refused", resp)
		return "", &r
	}
	return text, nil
}

func noAnswer(err error) Result {
	return failed("Check the network between this machine and the server.", "No response: %s.", plain(err))
}

// refused distinguishes a refusal by the server from one by a proxy.
func refused(what string, resp *http.Response) Result {
	var problem struct{ Detail string }
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") &&
		json.NewDecoder(io.LimitReader(resp.Body, 4<<10)).Decode(&problem) == nil && problem.Detail != "" {
		return failed("", "%s: %s", what, problem.Detail)
	}
	return failed("Check the proxy in front of the server: this response did not come from an inbox server.", "%s: %s.", what, resp.Status)
}

func head(r io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(r, 256))
	return string(text)
}

func (c *checker) poll(ctx context.Context, a, b peer) Result {
	resp, err := c.get(ctx, "inbox", url.Values{"wait": {"0"}}, &a)
	if err != nil {
		return noAnswer(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return refused("A poll was refused", resp)
	}
	text, problem := c.send(ctx, b, a)
	if problem != nil {
		return *problem
	}
	if resp, err = c.get(ctx, "inbox", url.Values{"wait": {"0"}}, &a); err != nil {
		return noAnswer(err)
	}
	defer resp.Body.Close()
	if got := head(resp.Body); got != text {
		return failed("Check the proxy in front of the server.", "A poll did not return the message that was sent: %s, %d bytes.", resp.Status, len(got))
	}
	return ok("A message arrives.")
}

// longPoll checks that a poll waits for the requested time.
func (c *checker) longPoll(ctx context.Context, a peer) Result {
	began := time.Now()
	resp, err := c.get(ctx, "inbox", url.Values{"wait": {"2"}}, &a)
	took := time.Since(began)
	if err != nil {
		return failed("Set the timeout of the proxy in front of the server to more than 30 s.", "A long poll was cut off after %s: %s.", took.Round(100*time.Millisecond), plain(err))
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode != http.StatusNoContent:
		return refused("A long poll was refused", resp)
	case took < waits*time.Second-100*time.Millisecond:
		return failed("Check the proxy in front of the server, which responds by itself.", "A long poll of %d s ended after %s.", waits, took.Round(100*time.Millisecond))
	}
	return ok("A long poll waits.")
}

// stream checks that an event arrives before the response ends.
func (c *checker) stream(ctx context.Context, a, b peer) Result {
	req, err := c.request(ctx, http.MethodGet, "inbox", nil, &a, nil)
	if err != nil {
		return noAnswer(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	const advice = "Turn off buffering in the proxy in front of the server (proxy_buffering off in nginx)."
	resp, err := c.http.Do(req)
	if err != nil {
		return failed(advice, "The stream does not start: %s.", plain(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused("A stream was refused", resp)
	}
	text, problem := c.send(ctx, b, a)
	if problem != nil {
		return *problem
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return ok("A message arrives over a stream.")
		}
	}
	return failed(advice, "A message does not arrive over a stream: something on the way buffers it.")
}

// frame is a frame in either direction.
type frame struct {
	Type     string `json:"type"`
	ID       string `json:"id,omitempty"`
	Password string `json:"password,omitempty"`
	To       string `json:"to,omitempty"`
	Body     string `json:"body,omitempty"`
	Key      string `json:"key,omitempty"`
}

func (c *checker) socket(ctx context.Context, a, b peer) Result {
	u := *c.base
	u.Scheme = "ws" + strings.TrimPrefix(u.Scheme, "http")
	u.Path += "inbox"
	conn, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient: c.http, Subprotocols: []string{"inbox.v1"}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		const advice = "Let the proxy in front of the server pass the Upgrade and Connection headers. Until then, clients fall back to long polls."
		if resp != nil {
			return failed(advice, "No WebSocket gets through: %s.", resp.Status)
		}
		return failed(advice, "No WebSocket gets through: %s.", plain(err))
	}
	defer conn.CloseNow()
	open, err := json.Marshal(frame{Type: "open", ID: a.id, Password: a.password})
	if err == nil {
		err = conn.Write(ctx, websocket.MessageText, open)
	}
	var opened frame
	if err == nil {
		opened, err = readFrame(ctx, conn)
	}
	if err != nil || opened.Type != "opened" {
		return failed("Check the proxy in front of the server.", "The WebSocket does not open.")
	}
	text, problem := c.send(ctx, b, a)
	if problem != nil {
		return *problem
	}
	for {
		f, err := readFrame(ctx, conn)
		if err != nil {
			return failed("Check the proxy in front of the server.", "A message does not arrive over a WebSocket.")
		}
		if f.Body == text {
			conn.Close(websocket.StatusNormalClosure, "")
			return ok("A message arrives over a WebSocket.")
		}
	}
}

func readFrame(ctx context.Context, conn *websocket.Conn) (f frame, err error) {
	_, data, err := conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	return f, err
}
