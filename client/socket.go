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
	openTimeout   = 10 * time.Second // of the handshake and the first frame
	writeTimeout  = 10 * time.Second
	sentTimeout   = 15 * time.Second // from a send to its answer
	silence       = 25 * time.Second // then we ping; the server does so after 20 s in which it heard nothing
	pongTimeout   = 10 * time.Second
	maxSocketBody = 64 << 10 // larger ones are sent by themselves
)

// errNoSocket says that there is something between us and the server that lets no
// socket through.
var errNoSocket = errors.New("no socket gets through")

// errSocketGone says that a socket is of no use any more.
var errSocketGone = errors.New("the socket is gone")

// socket is an open WebSocket. The receiver reads, senders write.
type socket struct {
	conn  *websocket.Conn
	ctx   context.Context // until it is gone
	leave context.CancelFunc
	alive *time.Timer // ends ctx if the server does not open, then probes whether it is there

	mu    sync.Mutex            // guards what follows
	sends map[string]chan error // that wait for their answer, by key; nil once gone
}

// dial opens a socket that goes on after a cursor. It fails with errNoSocket
// where a long poll may get through.
func (c *Client) dial(ctx context.Context, after inbox.Cursor) (*socket, error) {
	s := &socket{sends: make(map[string]chan error)}
	s.ctx, s.leave = context.WithCancel(ctx)
	s.alive = time.AfterFunc(openTimeout, s.leave)
	var resp *http.Response
	var err error
	// Should the Upgrade be lost on the way, this is a GET. It takes nothing, does
	// not wait, and replaces nobody.
	s.conn, resp, err = websocket.Dial(s.ctx, c.url+"?after="+after.String()+"&wait=0", &websocket.DialOptions{
		HTTPClient:     c.http,
		HTTPHeader:     http.Header{"Authorization": {c.authorization}},
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { s.heard(); return true },
		OnPongReceived: func(context.Context, []byte) { s.heard() },
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

// handshakeError tells the server's own no from that of something in between.
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
		return errNoSocket // cut off, or silent
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
		return e // a proxy, whose server is away
	}
	return errNoSocket
}

// heard notes that the server is there.
func (s *socket) heard() { s.alive.Reset(silence) }

// opened begins to watch whether the server is there. One that hears from us has no
// reason to ping.
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

// read returns what the server says next.
func (s *socket) read() (heard, error) {
	_, data, err := s.conn.Read(s.ctx)
	if err != nil {
		return heard{}, readError(err)
	}
	s.heard()
	var h heard
	if err := json.Unmarshal(data, &h); err != nil {
		return heard{}, errNoSocket // whatever speaks there, the answer to a poll tells
	}
	return h, nil
}

// readError says what the end of a socket means.
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
		return errNoSocket // it does not understand us, or something garbles what we say
	case problem.TooLarge.Code, problem.TooSlow.Code:
		return errSocketGone // a send is made again as a request, whose answer says so
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
	return s.write(said{Type: "ack", After: upTo.String()}.encode())
}

// send fails with errSocketGone if it is to be tried by other means.
func (s *socket) send(ctx context.Context, to string, d inbox.Draft) error {
	answer := make(chan error, 1)
	s.mu.Lock()
	if s.sends == nil || s.sends[d.Key] != nil { // the same key to somebody else
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

// answered gives a send its answer.
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
		// An error means that it was closed already.
		_ = s.conn.CloseNow()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sends = nil
}
