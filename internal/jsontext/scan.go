// Package jsontext reads and writes JSON text (RFC 8259) without building values. It
// validates a frame and finds its members in one pass, and appends strings to an output
// buffer, so that forwarding a message costs little more than scanning its JSON.
//
// It is as strict as encoding/json, and its tests compare the two. It does not validate
// UTF-8: callers do.
package jsontext

// maxDepth bounds the nesting of values, and thereby the stack.
const maxDepth = 1000

// Object reports whether text is a single JSON object, optionally surrounded by white
// space. It calls member for each member in order, with the raw JSON of its name and
// value. The calls happen before Object knows whether the rest of the text is valid. To
// compare a name, use [Is].
func Object(text []byte, member func(name, value []byte)) bool {
	s := scanner{text: text}
	s.space()
	return s.object(0, member) && s.at == len(text)
}

// Array reports whether text is one JSON array, surrounded only by white space. It calls
// element for each element as written, in order, before it knows whether the text is valid
// to its end. Nil text is not an array.
func Array(text []byte, element func(value []byte)) bool {
	s := scanner{text: text}
	s.space()
	return s.array(0, element) && s.at == len(text)
}

// A scanner validates values while moving over them.
type scanner struct {
	text []byte
	at   int
}

// take consumes c and the white space after it, if c is next.
func (s *scanner) take(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		s.space()
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// object scans an object and calls member, if not nil, for each of its members. It
// reports whether the object is valid.
func (s *scanner) object(depth int, member func(name, value []byte)) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for {
		name, ok := s.next(depth)
		if !ok || name[0] != '"' || !s.take(':') {
			return false
		}
		value, ok := s.next(depth)
		if !ok {
			return false
		}
		if member != nil {
			member(name, value)
		}
		if !s.take(',') {
			return s.take('}')
		}
	}
}

// array scans an array and calls element for each of its elements. It reports whether the
// array is valid.
func (s *scanner) array(depth int, element func(value []byte)) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for {
		value, ok := s.next(depth)
		if !ok {
			return false
		}
		if element != nil {
			element(value)
		}
		if !s.take(',') {
			return s.take(']')
		}
	}
}

// next scans a value and the white space after it. The returned value excludes the white
// space.
func (s *scanner) next(depth int) (value []byte, ok bool) {
	start := s.at
	if start == len(s.text) || depth > maxDepth {
		return nil, false
	}
	end := 0
	switch c := s.text[start]; c {
	case '"':
		ok = s.string()
	case '{':
		ok = s.object(depth+1, nil)
	case '[':
		ok = s.array(depth+1, nil)
	case 't':
		ok = s.word("true")
	case 'f':
		ok = s.word("false")
	case 'n':
		ok = s.word("null")
	default:
		ok = s.number()
	}
	if !ok {
		return nil, false
	}
	// object and array have already consumed the white space after their ends.
	for end = s.at; isSpace(s.text[end-1]); end-- {
	}
	s.space()
	return s.text[start:end], true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func (s *scanner) word(w string) bool {
	if len(s.text)-s.at < len(w) || string(s.text[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

// plain marks the bytes that need no escape in a string.
var plain = func() (table [256]bool) {
	for c := ' '; c < 256; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

func (s *scanner) string() bool {
	text := s.text
	for i := s.at + 1; i < len(text); i++ {
		c := text[i]
		switch {
		case plain[c]:
		case c == '"':
			s.at = i + 1
			return true
		case c < ' ':
			return false
		default: // a backslash
			size := escape(text[i+1:])
			if size == 0 {
				return false
			}
			i += size
		}
	}
	return false
}

// escape returns the length of the escape sequence after a backslash, or 0 if it is
// invalid.
func escape(text []byte) int {
	if len(text) == 0 {
		return 0
	}
	switch text[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(text) >= 5 && isHex(text[1]) && isHex(text[2]) && isHex(text[3]) && isHex(text[4]) {
			return 5
		}
	}
	return 0
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (s *scanner) number() bool {
	s.one('-')
	if !s.one('0') && !s.digits() {
		return false
	}
	if s.one('.') && !s.digits() {
		return false
	}
	if s.one('e') || s.one('E') {
		if !s.one('+') {
			s.one('-')
		}
		return s.digits()
	}
	return true
}

// one consumes c if it is next.
func (s *scanner) one(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// digits consumes one or more digits.
func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.text) && isDigit(s.text[s.at]) {
		s.at++
	}
	return s.at > start
}
