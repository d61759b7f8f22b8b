package peerjs

import (
	"bytes"
	"encoding/json"
	"strconv"

	"inbox"
)

// The types of what clients say to each other.
const (
	offer     = "OFFER"
	answer    = "ANSWER"
	candidate = "CANDIDATE"
	leave     = "LEAVE"
	expire    = "EXPIRE"
)

var heartbeat = []byte(`{"type":"HEARTBEAT"}`)

// said is what a client says, in one text frame.
type said struct {
	kind    string // one of the types; any other is ""
	dst     string
	payload []byte // JSON as it came, a part of the frame; nil if there is none
}

// parse reads a frame and reports whether it is JSON that says something: an object
// with a type, whose dst is a text if there is one.
func (f *said) parse(text []byte) bool {
	s := scanner{text: text}
	s.space()
	var kind, dst []byte
	object := s.object(0, func(name, value []byte) { // the last of a name counts
		if bytes.IndexByte(name, '\\') >= 0 {
			plain, _ := textOf(name)
			name = strconv.AppendQuote(nil, plain)
		}
		switch string(name) {
		case `"type"`:
			kind = value
		case `"dst"`:
			dst = value
		case `"payload"`:
			f.payload = value
		}
	})
	if !object || s.at != len(text) {
		return false
	}
	name, ok := textOf(kind)
	f.kind = known(name)
	if !ok {
		return false
	}
	if dst == nil || string(dst) == "null" {
		return true
	}
	f.dst, ok = textOf(dst)
	return ok
}

// textOf returns the text of a JSON string, and whether it is one.
func textOf(value []byte) (text string, ok bool) {
	if len(value) == 0 || value[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), true
	}
	ok = json.Unmarshal(value, &text) == nil
	return text, ok
}

func known(kind string) string {
	for _, k := range [...]string{candidate, offer, answer, leave, expire} {
		if k == kind {
			return k
		}
	}
	return ""
}

// isHeld reports whether a message of this type waits for a peer who is not there.
func isHeld(kind string) bool { return kind == offer || kind == answer || kind == candidate }

// body is what lies in an inbox: the members of the frame that its reader will
// get, but for src, which is the message's sender, and dst.
func (f *said) body() []byte {
	const kind, payload = `"type":"`, `,"payload":`
	b := make([]byte, 0, len(kind)+len(f.kind)+1+len(payload)+len(f.payload))
	b = append(append(append(b, kind...), f.kind...), '"')
	if f.payload != nil {
		b = append(append(b, payload...), f.payload...)
	}
	return b
}

// isExpire reports whether a body says that another message was not read.
func isExpire(body []byte) bool { return bytes.HasPrefix(body, expireBody) }

var expireBody = (&said{kind: expire}).body()

// appendFrame appends the frame of a body from src to dst.
func appendFrame(to, body []byte, src, dst string) []byte {
	to = append(append(to, '{'), body...)
	to = appendString(append(to, `,"src":`...), src)
	to = appendString(append(to, `,"dst":`...), dst)
	return append(to, '}')
}

// appendMessage appends the frame of a message in the inbox of dst.
func (h *Handler) appendMessage(to []byte, m *inbox.Message, dst string) []byte {
	return appendFrame(to, m.Body, m.From[len(h.prefix):], dst)
}

// appendString appends a JSON string.
func appendString(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string
			}
			return append(to, quoted...)
		}
	}
	return append(append(append(to, '"'), s...), '"')
}

// open, and what a client is told before its socket is closed: the texts are
// those that programs have come to look for.
const (
	openFrame = `{"type":"OPEN"}`

	missing    = `{"type":"ERROR","payload":{"msg":"No id, token, or key supplied to websocket server"}}`
	wrongKey   = `{"type":"ERROR","payload":{"msg":"Invalid key provided"}}`
	badID      = `{"type":"ERROR","payload":{"msg":"An id has at most 512 bytes of UTF-8"}}`
	serverFull = `{"type":"ERROR","payload":{"msg":"Server has reached its concurrent user limit"}}`
	idIsTaken  = `{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}`
)
