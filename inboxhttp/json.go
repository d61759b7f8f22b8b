package inboxhttp

import (
	"encoding/base64"
	"time"
	"unicode/utf8"

	"inbox"
	"inbox/internal/jsontext"
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
	to = jsontext.AppendString(to, m.From)
	to = append(to, `,"time":"`...)
	to = m.Time.AppendFormat(to, time.RFC3339Nano)
	to = append(to, '"')
	if utf8.Valid(m.Body) {
		to = append(to, `,"body":`...)
		to = jsontext.AppendString(to, m.Body)
	} else {
		to = append(to, `,"body64":"`...)
		to = base64.StdEncoding.AppendEncode(to, m.Body)
		to = append(to, '"')
	}
	return append(to, '}')
}
