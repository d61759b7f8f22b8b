package jsontext

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// IsString reports whether a value is a string. The nil value of a missing member is not.
func IsString(value []byte) bool { return len(value) > 0 && value[0] == '"' }

// Is reports whether a value is the string want, which must be ASCII without quotes and
// backslashes. It stops at the first difference and does not allocate, because a frame
// may have thousands of names full of escapes.
func Is(quoted []byte, want string) bool {
	if !IsString(quoted) {
		return false
	}
	rest := quoted[1:]
	for i := range len(want) {
		if rest[0] != '\\' {
			if rest[0] != want[i] {
				return false
			}
			rest = rest[1:]
			continue
		}
		if rest[1] != 'u' || codeUnit(rest[2:6]) != rune(want[i]) {
			return false
		}
		rest = rest[6:]
	}
	return len(rest) == 1
}

// String returns the text of a JSON string.
func String(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	return string(AppendText(nil, quoted))
}

// AppendText appends the text of a JSON string. Like encoding/json, it replaces lone
// surrogates, which UTF-8 cannot represent, with U+FFFD.
func AppendText(to, quoted []byte) []byte {
	rest := quoted[1 : len(quoted)-1]
	for {
		i := bytes.IndexByte(rest, '\\')
		if i < 0 {
			return append(to, rest...)
		}
		to = append(to, rest[:i]...)
		c := rest[i+1]
		rest = rest[i+2:]
		if c == 'u' {
			r, size := codePoint(rest)
			to, rest = utf8.AppendRune(to, r), rest[size:]
			continue
		}
		to = append(to, unescaped[c])
	}
}

// unescaped maps the character after a backslash to the one it stands for.
var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// codePoint parses the text after \u: four digits, or a whole surrogate pair.
func codePoint(text []byte) (r rune, size int) {
	r = codeUnit(text)
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(text) >= 10 && text[4] == '\\' && text[5] == 'u' {
		if pair := utf16.DecodeRune(r, codeUnit(text[6:])); pair != utf8.RuneError {
			return pair, 10
		}
	}
	return utf8.RuneError, 4
}

// codeUnit parses four hexadecimal digits.
func codeUnit(digits []byte) (c rune) {
	for _, d := range digits[:4] {
		if isDigit(d) {
			c = c<<4 | rune(d-'0')
		} else {
			c = c<<4 | rune(d|0x20-'a'+10)
		}
	}
	return c
}

// HasLoneSurrogate reports whether a JSON string contains an escaped surrogate without
// its pair.
func HasLoneSurrogate(quoted []byte) bool {
	for i := 1; i < len(quoted)-1; i++ {
		if quoted[i] != '\\' {
			continue
		}
		i++
		if quoted[i] != 'u' {
			continue
		}
		r, size := codePoint(quoted[i+1 : len(quoted)-1])
		if r == utf8.RuneError && utf16.IsSurrogate(codeUnit(quoted[i+1:])) {
			return true
		}
		i += size
	}
	return false
}
