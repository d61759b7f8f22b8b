package peerjs

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

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
	s := scanner{text: text}
	s.space()
	var kind, dst []byte
	object := s.object(0, func(name, value []byte) { // the last of a name counts
		switch {
		case isName(name, "type"):
			kind = value
		case isName(name, "dst"):
			dst = value
		case isName(name, "payload"):
			f.payload = value
		}
	})
	if !object || s.at != len(text) {
		return false
	}
	name, ok := textOf(kind)
	f.kind = known(name)
	f.dst = addressOf(dst)
	return ok
}

// isName reports whether a JSON string is name, which has letters only. It reads no
// further than the first difference, and makes nothing: a frame may have thousands of
// names, each with escapes.
func isName(quoted []byte, name string) bool {
	rest := quoted[1:]
	for i := range len(name) {
		if rest[0] != '\\' {
			if rest[0] != name[i] {
				return false
			}
			rest = rest[1:]
			continue
		}
		if rest[1] != 'u' || codeUnit(rest[2:6]) != rune(name[i]) {
			return false
		}
		rest = rest[6:]
	}
	return len(rest) == 1
}

// codeUnit reads the four digits of a \u escape.
func codeUnit(digits []byte) (c rune) {
	for _, d := range digits {
		if isDigit(d) {
			c = c<<4 | rune(d-'0')
		} else {
			c = c<<4 | rune(d|0x20-'a'+10)
		}
	}
	return c
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
		if hasLoneSurrogate(dst) {
			return address{string(dst), true} // an id is UTF-8
		}
		text, _ := textOf(dst)
		return address{text: text}
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

// hasLoneSurrogate reports whether a JSON string has half of a surrogate pair, which no
// UTF-8 can hold.
func hasLoneSurrogate(quoted []byte) bool {
	for i := 1; i < len(quoted)-1; i++ {
		if quoted[i] != '\\' {
			continue
		}
		i++
		if quoted[i] != 'u' {
			continue
		}
		first := codeUnit(quoted[i+1 : i+5])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		next := quoted[i+1:]
		if len(next) < 7 || next[0] != '\\' || next[1] != 'u' || utf16.DecodeRune(first, codeUnit(next[2:6])) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
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
func appendFrame(to, body []byte, src address, dst string) []byte {
	to = append(append(to, '{'), body...)
	to = append(to, `,"src":`...)
	if src.json {
		to = append(to, src.text...)
	} else {
		to = appendString(to, src.text)
	}
	to = appendString(append(to, `,"dst":`...), dst)
	return append(to, '}')
}

// appendMessage appends the frame of a message in the inbox of dst.
func (h *Handler) appendMessage(to []byte, m *inbox.Message, dst string) []byte {
	return appendFrame(to, m.Body, address{text: m.From[len(h.prefix):]}, dst)
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
