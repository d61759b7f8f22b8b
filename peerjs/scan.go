package peerjs

// maxDepth is how deep the payload of a frame may be nested.
const maxDepth = 1000

// A scanner reads JSON (RFC 8259) as strictly as encoding/json does, and makes
// nothing of it. It checks a frame and finds its members in one go: json.Valid alone
// would take a third of what passing on a message costs.
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

func (s *scanner) string() bool {
	text := s.text
	for i := s.at + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			s.at = i + 1
			return true
		case c < ' ':
			return false
		case c != '\\':
		case i+1 == len(text):
			return false
		default:
			i++
			switch text[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if len(text)-i < 5 || !isHex(text[i+1]) || !isHex(text[i+2]) || !isHex(text[i+3]) || !isHex(text[i+4]) {
					return false
				}
				i += 4
			default:
				return false
			}
		}
	}
	return false
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
