package client

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"inbox"
)

// message is a message as it goes over the wire, in a batch or on a socket.
type message struct {
	Cursor string    `json:"cursor"`
	From   string    `json:"from"`
	Time   time.Time `json:"time"`
	Body   *string   `json:"body"`
	Body64 []byte    `json:"body64"`
}

func (m *message) decode() (inbox.Message, error) {
	at, err := inbox.ParseCursor(m.Cursor)
	if err != nil {
		return inbox.Message{}, err
	}
	body := m.Body64
	if m.Body != nil {
		body = []byte(*m.Body)
	}
	return inbox.Message{Cursor: at, From: m.From, Time: m.Time, Body: body}, nil
}

// batch is the JSON form of an answer to a poll.
type batch struct {
	Messages []message `json:"messages"`
	Reset    bool      `json:"reset"`
}

// heard is what a server says on a socket.
type heard struct {
	Type string `json:"type"`
	message
	Reset  bool   `json:"reset"`
	Key    string `json:"key"`
	Code   string `json:"code"`
	Status int    `json:"status"`

	RetryAfter float64 `json:"retryAfter"` // seconds
}

// said is what a client says there.
type said struct {
	Type   string  `json:"type"`
	To     string  `json:"to,omitempty"`
	Body   *string `json:"body,omitempty"`
	Body64 []byte  `json:"body64,omitempty"`
	Key    string  `json:"key,omitempty"`
	After  string  `json:"after,omitempty"`
}

func (s said) encode() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // strings and bytes
	}
	return b.Bytes()
}

// frameOf is a send. The server takes frames of twice a body's size and a little
// more, and an escaped text can be longer than that: then it goes as base64.
func frameOf(to string, d inbox.Draft) []byte {
	s := said{Type: "send", To: to, Key: d.Key}
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
