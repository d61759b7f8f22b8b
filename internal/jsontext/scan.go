// Package jsontext reads and writes JSON text (RFC 8259) without building values: it
// checks a frame and finds its members in one pass, and appends strings to a buffer
// that goes out. Passing on a message costs little more than its JSON does.
//
// It is as strict as encoding/json, with which its tests compare it. It reads the
// bytes of a string as they are: callers check that the text is UTF-8.
package jsontext

// maxDepth bounds how deep values may be nested, and so the stack.
const maxDepth = 1000

// Object reports whether text is one JSON object, with nothing but white space around
// it. It calls member for each member as it is written, in order, before it knows
// whether the text is valid to its end. name is a JSON string: see [Is].
func Object(text []byte, member func(name, value []byte)) bool {
	s := scanner{text: text}
	s.space()
	return s.object(0, member) && s.at == len(text)
}

// A scanner checks values as it moves over them.
type scanner struct {
	text []byte
	at   int
}

// take reads a character, and the white space behind it, if it comes next.
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

// object reads an object, which has not begun yet, and hands over its members as
// they are written. It reports whether it is one.
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

func (s *scanner) array(depth int) bool {
	s.take('[')
	if s.take(']') {
		return true
	}
	for {
		if _, ok := s.next(depth); !ok {
			return false
		}
		if !s.take(',') {
			return s.take(']')
		}
	}
}

// next reads a value, and the white space behind it, which does not belong to it.
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
		ok = s.array(depth + 1)
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
	// Objects and arrays have read on behind their ends.
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

// plain are the bytes that stand for themselves in a string.
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

// escape returns the length of what may follow a backslash, or 0.
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

// one reads a character if it comes next.
func (s *scanner) one(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// digits reads at least one.
func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.text) && isDigit(s.text[s.at]) {
		s.at++
	}
	return s.at > start
}
