package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// waiter is a waiting connection of a peer over one of the transports.
type waiter interface {
	// run reads until the connection ends. It calls got for each body, and kept for each
	// keep-alive: an empty poll, a comment, a ping.
	run(got func(body []byte), kept func()) error
	Close() error
}

// errNotServed means that the server does not support a transport.
var errNotServed = errors.New("not served by this server")

// openWaiter starts waiting on a new connection. It cannot know when a long poll waits,
// since the server sends nothing until a message arrives.
func openWaiter(transport string, c *conn, p peer) (waiter, error) {
	switch transport {
	case "poll":
		w := &pollWaiter{conn: c, peer: p}
		_, err := c.Write(p.get("?after=0"))
		return w, err
	case "stream":
		return openStream(c, p)
	case "peerjs":
		s, err := openPeerJS(c, p)
		return &socketWaiter{s}, err
	default:
		s, err := openSocket(c, p, "frame")
		return &socketWaiter{s}, err
	}
}

// pollWaiter acknowledges by polling again immediately.
type pollWaiter struct {
	*conn
	peer peer
}

func (w *pollWaiter) run(got func([]byte), kept func()) error {
	for {
		a, err := w.read()
		if err != nil {
			return err
		}
		switch a.status {
		case 200:
			got(a.body)
		case 204:
			kept()
		default:
			return unexpected(a)
		}
		if _, err := w.Write(w.peer.get("?after=" + string(a.cursor))); err != nil {
			return err
		}
	}
}

// streamWaiter reads Server-Sent Events.
type streamWaiter struct {
	*conn
	lines *bufio.Reader
}

func openStream(c *conn, p peer) (*streamWaiter, error) {
	if _, err := c.Write(p.get("", "Accept: text/event-stream")); err != nil {
		return nil, err
	}
	// The header arrives immediately, or the server does something else.
	stuck := time.AfterFunc(3*time.Second, func() { c.Close() })
	answer, err := http.ReadResponse(bufio.NewReaderSize(c.Conn, 1024), nil)
	if !stuck.Stop() {
		return nil, errNotServed
	}
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != 200 {
		return nil, fmt.Errorf("stream: unexpected response: %s", answer.Status)
	}
	if ct := answer.Header.Get("Content-Type"); ct != "text/event-stream" {
		return nil, errNotServed
	}
	return &streamWaiter{c, bufio.NewReaderSize(answer.Body, 1024)}, nil
}

func (w *streamWaiter) run(got func([]byte), kept func()) error {
	event := ""
	for {
		line, err := w.lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "": // a comment, or the end of an event
			if len(line) > 0 {
				kept()
			}
		case "event":
			if event = string(value); event != "message" {
				return fmt.Errorf("stream: unexpected event %q", event)
			}
		case "data":
			if event == "message" {
				got(stringField(value, "body"))
			}
			event = ""
		}
	}
}

// socketWaiter acknowledges each message.
type socketWaiter struct{ *socket }

func (w *socketWaiter) run(got func([]byte), kept func()) error {
	w.pinged = kept
	for {
		m, err := w.next()
		if err != nil {
			return err
		}
		switch kind := string(stringField(m, "type")); kind {
		case "message":
			got(stringField(m, "body"))
			if err := w.send(fmt.Appendf(nil, `{"type":"ack","after":"%s"}`, stringField(m, "cursor"))); err != nil {
				return err
			}
		default:
			return fmt.Errorf("socket: %.200s", m)
		}
	}
}

// stringField returns a string field of a flat JSON object without escapes, as all
// objects here are. It returns nil if there is no such field.
func stringField(object []byte, name string) []byte {
	for rest := object; ; {
		i := bytes.Index(rest, []byte(name))
		if i < 0 {
			return nil
		}
		before := rest[:i]
		rest = rest[i+len(name):]
		if !bytes.HasSuffix(before, []byte(`"`)) || !bytes.HasPrefix(rest, []byte(`":`)) {
			continue
		}
		value := bytes.TrimLeft(rest[2:], " ")
		if len(value) == 0 || value[0] != '"' {
			return nil
		}
		end := bytes.IndexByte(value[1:], '"')
		if end < 0 {
			return nil
		}
		return value[1 : 1+end]
	}
}
