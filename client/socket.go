package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"

	"inbox"
	"inbox/internal/problem"
)

const subprotocol = "inbox.v1"

const (
	openTimeout   = 10 * time.Second // for the handshake and the first frame
	writeTimeout  = 10 * time.Second
	sentTimeout   = 15 * time.Second // from sending a message to its confirmation
	silence       = 25 * time.Second // ping after this; the server pings after 20 s without traffic
	pongTimeout   = 10 * time.Second
	maxSocketBody = 64 << 10 // larger bodies are sent by a separate request
)

// errNoSocket means that something between the client and the server blocks WebSockets.
var errNoSocket = errors.New("no WebSocket gets through")

// errSocketGone means that the socket can no longer be used.
var errSocketGone = errors.New("the WebSocket is gone")

// socket is an open WebSocket. One goroutine reads from it; any goroutine may write.
type socket struct {
	conn  *websocket.Conn
	ctx   context.Context // ends with the socket
	leave context.CancelFunc
	alive *time.Timer // cancels ctx if opening takes too long; then sends pings

	mu    sync.Mutex            // guards sends
	sends map[string]chan error // pending sends by key; nil once the socket is gone
}

// dial opens a socket that resumes after a cursor. It returns errNoSocket if a long poll
// may still work.
func (c *Client) dial(ctx context.Context, after inbox.Cursor) (*socket, error) {
	s := &socket{sends: make(map[string]chan error)}
	s.ctx, s.leave = context.WithCancel(ctx)
	s.alive = time.AfterFunc(openTimeout, s.leave)
	var resp *http.Response
	var err error
	// If a proxy strips the Upgrade header, the server sees a GET. It has a cursor
	// and wait=0, so it takes no messages, does not wait, and replaces no receiver.
	s.conn, resp, err = websocket.Dial(s.ctx, c.url+"?after="+after.String()+"&wait=0", &websocket.DialOptions{
		HTTPClient:     c.http,
		HTTPHeader:     http.Header{"Authorization": {c.authorization}},
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { s.touch(); return true },
		OnPongReceived: func(context.Context, []byte) { s.touch() },
	})
	if err != nil {
		s.close()
		return nil, handshakeError(ctx, resp, err)
	}
	if s.conn.Subprotocol() != subprotocol {
		s.close()
		return nil, errNoSocket
	}
	s.conn.SetReadLimit(maxAnswer)
	return s, nil
}

// handshakeError distinguishes a refusal by the server from one by a proxy.
func handshakeError(ctx context.Context, resp *http.Response, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if resp == nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e
		}
		if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" || !temporary(err) {
			return failure(err)
		}
		return errNoSocket // the connection was cut or timed out
	}
	if resp.StatusCode == http.StatusSwitchingProtocols || resp.Body == nil {
		return errNoSocket
	}
	body, _ := io.ReadAll(resp.Body)
	e := errorOf(resp.StatusCode, resp.Header, body)
	_, isKnown := problem.OfCode(e.Code)
	switch {
	case isKnown && e.Code != problem.BadRequest.Code:
		return e
	case e.Status == http.StatusBadGateway, e.Status == http.StatusServiceUnavailable, e.Status == http.StatusGatewayTimeout:
		return e // from a proxy whose server is unavailable
	}
	return errNoSocket
}

// touch notes that the server has been heard from.
func (s *socket) touch() { s.alive.Reset(silence) }

// opened starts pinging the server when it is silent. A server that receives frames from
// the client has no reason to ping.
func (s *socket) opened() {
	s.alive.Stop()
	s.alive = time.AfterFunc(silence, func() {
		ctx, cancel := context.WithTimeout(s.ctx, pongTimeout)
		defer cancel()
		if s.conn.Ping(ctx) != nil {
			s.leave()
		}
	})
}

// read returns the next frame.
func (s *socket) read() (serverFrame, error) {
	_, data, err := s.conn.Read(s.ctx)
	if err != nil {
		return serverFrame{}, readError(err)
	}
	s.touch()
	var h serverFrame
	if err := json.Unmarshal(data, &h); err != nil {
		return serverFrame{}, errNoSocket // the next poll shows whether this is an inbox server
	}
	return h, nil
}

// readError converts the error that ended a socket.
func readError(err error) error {
	e, ok := errors.AsType[websocket.CloseError](err)
	if !ok {
		if errors.Is(err, websocket.ErrMessageTooBig) {
			return errLarge
		}
		return errSocketGone
	}
	p, ok := problem.OfClose(int(e.Code))
	switch p.Code {
	case problem.BadRequest.Code:
		return errNoSocket // the server does not understand the frames, or a proxy garbles them
	case problem.TooLarge.Code, problem.TooSlow.Code:
		return errSocketGone // the send is retried as a request, whose response explains the error
	}
	if !ok {
		return errSocketGone
	}
	return &Error{Status: p.Status, Code: p.Code}
}

func (s *socket) write(frame []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, writeTimeout)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageText, frame); err != nil {
		s.leave()
		return errSocketGone
	}
	return nil
}

func (s *socket) acknowledge(upTo inbox.Cursor) error {
	return s.write(clientFrame{Type: "ack", After: upTo.String()}.encode())
}

// send sends a message and waits for its confirmation. It returns errSocketGone if the
// message should be sent by a request instead.
func (s *socket) send(ctx context.Context, to string, d inbox.Draft) error {
	answer := make(chan error, 1)
	s.mu.Lock()
	if s.sends == nil || s.sends[d.Key] != nil { // gone, or the key is already in use
		s.mu.Unlock()
		return errSocketGone
	}
	s.sends[d.Key] = answer
	s.mu.Unlock()
	defer s.forget(d.Key, answer)
	if err := s.write(frameOf(to, d)); err != nil {
		return err
	}
	timer := time.NewTimer(sentTimeout)
	defer timer.Stop()
	select {
	case err := <-answer:
		return err
	case <-timer.C:
		s.leave()
		return errSocketGone
	case <-s.ctx.Done():
		return errSocketGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answered delivers the server's response to the send with the given key.
func (s *socket) answered(key string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answer := s.sends[key]; answer != nil {
		answer <- err
		delete(s.sends, key)
	}
}

func (s *socket) forget(key string, answer chan error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sends[key] == answer {
		delete(s.sends, key)
	}
}

func (s *socket) close() {
	s.alive.Stop()
	s.leave()
	if s.conn != nil {
		// An error means that it is already closed.
		_ = s.conn.CloseNow()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sends = nil
}
