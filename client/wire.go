package client

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"inbox"
)

// message is a message as encoded in a batch or a frame.
type message struct {
	Cursor string    `json:"cursor"`
	From   string    `json:"from"`
	Time   time.Time `json:"time"`
	Body   *string   `json:"body"`
	Body64 []byte    `json:"body64"`

	Room json.RawMessage `json:"room"` // an event from the server, instead of From and a body
}

func (m *message) decode() (inbox.Message, error) {
	at, err := inbox.ParseCursor(m.Cursor)
	if err != nil {
		return inbox.Message{}, err
	}
	if m.Room != nil {
		return inbox.Message{Cursor: at, Time: m.Time, Body: m.Room}, nil
	}
	body := m.Body64
	if m.Body != nil {
		body = []byte(*m.Body)
	}
	return inbox.Message{Cursor: at, From: m.From, Time: m.Time, Body: body}, nil
}

// batch is the JSON response to a poll.
type batch struct {
	Messages []message `json:"messages"`
	Reset    bool      `json:"reset"`
}

// serverFrame is a frame from the server.
type serverFrame struct {
	Type string `json:"type"`
	message
	Reset  bool   `json:"reset"`
	Key    string `json:"key"`
	Code   string `json:"code"`
	Status int    `json:"status"`

	RetryAfter float64 `json:"retryAfter"` // seconds
}

// clientFrame is a frame to the server.
type clientFrame struct {
	Type   string  `json:"type"`
	To     string  `json:"to,omitempty"`
	Body   *string `json:"body,omitempty"`
	Body64 []byte  `json:"body64,omitempty"`
	Key    string  `json:"key,omitempty"`
	After  string  `json:"after,omitempty"`
}

func (s clientFrame) encode() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // cannot happen: the fields are strings and bytes
	}
	return b.Bytes()
}

// frameOf encodes a send. The server accepts frames of about twice the size of a body. If
// escaping makes a text longer than that, it is sent as base64.
func frameOf(to string, d inbox.Draft) []byte {
	s := clientFrame{Type: "send", To: to, Key: d.Key}
	if utf8.Valid(d.Body) {
		text := string(d.Body)
		s.Body = &text
		if frame := s.encode(); len(frame) <= len(d.Body)*3/2+1<<10 {
			return frame
		}
		s.Body = nil
	}
	s.Body64 = d.Body
	return s.encode()
}
