package peerjs

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"

	"inbox"
	"inbox/internal/jsontext"
	"inbox/internal/socket"
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
	dst     address
	payload []byte // JSON as it came, a part of the frame; nil if there is none
}

// An address is the dst of a frame. Its zero value is nobody: dst is missing or is one
// of the JSON values that JavaScript takes for false (null, false, 0, "").
type address struct {
	text string
	// json says that text is not an id but JSON that names no peer: a number, an object
	// or an array, true, or a string that no id can equal. Pages send it by mistake, as
	// in peer.connect(123), and hear EXPIRE with the same value.
	json bool
}

// parse reads a frame and reports whether it is JSON that says something: an object
// whose type is a string.
func (f *said) parse(text []byte) bool {
	var kind, dst []byte
	object := jsontext.Object(text, func(name, value []byte) { // the last of a name counts
		switch {
		case jsontext.Is(name, "type"):
			kind = value
		case jsontext.Is(name, "dst"):
			dst = value
		case jsontext.Is(name, "payload"):
			f.payload = value
		}
	})
	if !object || !jsontext.IsString(kind) {
		return false
	}
	f.kind = known(kind)
	f.dst = addressOf(dst)
	return true
}

// addressOf reads a dst, which is valid JSON, or nil if there is none.
func addressOf(dst []byte) address {
	if dst == nil {
		return address{}
	}
	switch dst[0] {
	case 'n', 'f': // null, false
		return address{}
	case '"':
		if jsontext.HasLoneSurrogate(dst) {
			return address{string(dst), true} // an id is UTF-8
		}
		return address{text: jsontext.String(dst)}
	case 't', '{', '[':
		return address{string(dst), true}
	}
	n, _ := strconv.ParseFloat(string(dst), 64) // an error leaves what JavaScript has: 0 or infinite
	switch {
	case n == 0:
		return address{}
	case math.IsInf(n, 0):
		return address{"null", true} // as JavaScript writes it
	}
	text, err := json.Marshal(n) // formats it as JavaScript does
	if err != nil {
		panic(err) // a finite number
	}
	return address{string(text), true}
}

// known returns the type that a JSON string names, or "".
func known(kind []byte) string {
	for _, k := range [...]string{candidate, offer, answer, leave, expire} {
		if jsontext.Is(kind, k) {
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
func appendFrame(to, body []byte, src address, dst string) []byte {
	to = append(append(to, '{'), body...)
	return appendEnds(to, src, dst)
}

// appendEnds appends what follows the body in a frame.
func appendEnds(to []byte, src address, dst string) []byte {
	to = append(to, `,"src":`...)
	if src.json {
		to = append(to, src.text...)
	} else {
		to = jsontext.AppendString(to, src.text)
	}
	to = jsontext.AppendString(append(to, `,"dst":`...), dst)
	return append(to, '}')
}

// sendMessage sends the frame of a message in the inbox of dst. A long body is not
// copied.
func (h *Handler) sendMessage(s *socket.Socket, m *inbox.Message, dst string) error {
	src, body := address{text: m.From[len(h.prefix):]}, m.Body
	if len(body) <= kernelBuffers {
		return s.Send(func(to []byte) []byte { return appendFrame(to, body, src, dst) })
	}
	ends := appendEnds(nil, src, dst)
	return s.SendLong(1+len(body)+len(ends), func(to []byte, write func([]byte) error) []byte {
		to = append(append(to, '{'), body[:kernelBuffers]...)
		if write(to) != nil || write(body[kernelBuffers:]) != nil {
			return nil
		}
		return append(to[:0], ends...)
	})
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
