package peerjs

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"

	"inbox"
	"inbox/internal/flight"
	"inbox/internal/jsontext"
	"inbox/internal/socket"
)

// Types of messages between clients.
const (
	offer     = "OFFER"
	answer    = "ANSWER"
	candidate = "CANDIDATE"
	leave     = "LEAVE"
	expire    = "EXPIRE"
)

var heartbeat = []byte(`{"type":"HEARTBEAT"}`)

// clientFrame is one text frame of a client, decoded.
type clientFrame struct {
	kind    string // one of the types, or "" for any other
	dst     address
	payload []byte // raw JSON within the frame; nil if absent
}

// An address is the dst of a frame. The zero address means that dst is missing or is a
// JSON value that is falsy in JavaScript (null, false, 0 or "").
type address struct {
	text string
	// json means that text is a JSON value that cannot be an id: a number, an object, an
	// array, true, or a string that no id can equal. Pages send these by mistake, as in
	// peer.connect(123), and get EXPIRE with the same value.
	json bool
}

// parse decodes a frame. It returns false unless the frame is a JSON object with a string
// as its type.
func (f *clientFrame) parse(text []byte) bool {
	var kind, dst []byte
	object := jsontext.Object(text, func(name, value []byte) { // the last member of a name wins
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

// addressOf decodes a dst, which is valid JSON, or nil if absent.
func addressOf(dst []byte) address {
	if dst == nil {
		return address{}
	}
	switch dst[0] {
	case 'n', 'f': // null, false
		return address{}
	case '"':
		if jsontext.HasLoneSurrogate(dst) {
			return address{string(dst), true} // ids are valid UTF-8
		}
		return address{text: jsontext.String(dst)}
	case 't', '{', '[':
		return address{string(dst), true}
	}
	n, _ := strconv.ParseFloat(string(dst), 64) // on an error n is 0 or infinite, as in JavaScript
	switch {
	case n == 0:
		return address{}
	case math.IsInf(n, 0):
		return address{"null", true} // as JavaScript encodes it
	}
	text, err := json.Marshal(n) // formatted as in JavaScript
	if err != nil {
		panic(err) // n is finite
	}
	return address{string(text), true}
}

// known returns the message type that a JSON string contains, or "".
func known(kind []byte) string {
	for _, k := range [...]string{candidate, offer, answer, leave, expire} {
		if jsontext.Is(kind, k) {
			return k
		}
	}
	return ""
}

// isHeld reports whether messages of this type wait for absent peers.
func isHeld(kind string) bool { return kind == offer || kind == answer || kind == candidate }

// body returns what is stored in the inbox: type and payload. The reader's frame also
// gets src, from the message's sender, and dst.
func (f *clientFrame) body() []byte {
	const kind, payload = `"type":"`, `,"payload":`
	b := make([]byte, 0, len(kind)+len(f.kind)+1+len(payload)+len(f.payload))
	b = append(append(append(b, kind...), f.kind...), '"')
	if f.payload != nil {
		b = append(append(b, payload...), f.payload...)
	}
	return b
}

// isExpire reports whether a body is an EXPIRE.
func isExpire(body []byte) bool { return bytes.HasPrefix(body, expireBody) }

var expireBody = (&clientFrame{kind: expire}).body()

// appendFrame appends the frame for a body from src to dst.
func appendFrame(to, body []byte, src address, dst string) []byte {
	to = append(append(to, '{'), body...)
	return appendEnds(to, src, dst)
}

// appendEnds appends the rest of a frame after the body.
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

// sendMessage sends a message from the inbox of dst as a frame. It does not copy a long
// body.
func (h *Handler) sendMessage(s *socket.Socket, m *inbox.Message, dst string) error {
	src, body := address{text: m.From[len(h.prefix):]}, m.Body
	if len(body) <= flight.KernelBuffers {
		return s.Send(func(to []byte) []byte { return appendFrame(to, body, src, dst) })
	}
	ends := appendEnds(nil, src, dst)
	return s.SendLong(1+len(body)+len(ends), func(to []byte, write func([]byte) error) []byte {
		to = append(append(to, '{'), body[:flight.KernelBuffers]...)
		if write(to) != nil || write(body[flight.KernelBuffers:]) != nil {
			return nil
		}
		return append(to[:0], ends...)
	})
}

// The first frame of an open socket, and the last frame of a refused one. Programs depend
// on these texts.
const (
	openFrame = `{"type":"OPEN"}`

	missing    = `{"type":"ERROR","payload":{"msg":"No id, token, or key supplied to websocket server"}}`
	wrongKey   = `{"type":"ERROR","payload":{"msg":"Invalid key provided"}}`
	badID      = `{"type":"ERROR","payload":{"msg":"An id has at most 512 bytes of UTF-8"}}`
	serverFull = `{"type":"ERROR","payload":{"msg":"Server has reached its concurrent user limit"}}`
	idIsTaken  = `{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}`
)
