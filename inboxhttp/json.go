package inboxhttp

import (
	"encoding/base64"
	"time"
	"unicode/utf8"

	"inbox"
)

// What is said as JSON is appended to the buffer that goes out: building it is a
// good part of what passing on a message costs.

// appendBatchStart appends the JSON form of a batch up to its messages.
func appendBatchStart(to []byte, c inbox.Cursor) []byte {
	to = append(to, `{"cursor":"`...)
	to = c.Append(to)
	return append(to, `","messages":[`...)
}

// appendBatchEnd appends what comes after them.
func appendBatchEnd(to []byte, reset bool) []byte {
	to = append(to, ']')
	if reset {
		to = append(to, `,"reset":true`...)
	}
	return append(to, '}')
}

// appendMessage appends the JSON form of a message, the same in a batch, in a
// stream and on a socket. start is what comes first in the object.
func appendMessage(to []byte, start string, m *inbox.Message) []byte {
	to = append(to, '{')
	to = append(to, start...)
	to = append(to, `"cursor":"`...)
	to = m.Cursor.Append(to)
	to = append(to, `","from":`...)
	to = appendString(to, m.From)
	to = append(to, `,"time":"`...)
	to = m.Time.AppendFormat(to, time.RFC3339Nano)
	to = append(to, '"')
	if utf8.Valid(m.Body) {
		to = append(to, `,"body":`...)
		to = appendString(to, m.Body)
	} else {
		to = append(to, `,"body64":"`...)
		to = base64.StdEncoding.AppendEncode(to, m.Body)
		to = append(to, '"')
	}
	return append(to, '}')
}

// appendString appends a JSON string (RFC 8259, 7) of what is valid UTF-8.
func appendString[T string | []byte](to []byte, text T) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	plain := 0 // from where on nothing had to be escaped
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		to = append(to, text[plain:i]...)
		plain = i + 1
		switch c {
		case '"', '\\':
			to = append(to, '\\', c)
		case '\n':
			to = append(to, '\\', 'n')
		case '\r':
			to = append(to, '\\', 'r')
		case '\t':
			to = append(to, '\\', 't')
		default:
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	to = append(to, text[plain:]...)
	return append(to, '"')
}
