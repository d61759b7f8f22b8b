package inboxhttp

import (
	"encoding/base64"
	"sync"
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

// pieceSize is about how much of an answer is made at once. What one client does not
// read costs the server a piece, and not all that an inbox may hold.
const pieceSize = 8 << 10

// What is made of a body before the piece is looked at again. Escaping makes six bytes
// of one at most, base64 four of three.
const (
	escapeStep = 1 << 10
	base64Step = 3 << 10
)

// pieceBuffers hold a piece and what the last step may put on top of it.
var pieceBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// pieces writes JSON in pieces. A message is never whole in memory a second time:
// escaped it may be six times as long.
type pieces struct {
	array *[16 << 10]byte
	buf   []byte
	write func(piece []byte) error // which keeps nothing of it
	wrote bool                     // a piece
	err   error                    // the first one
}

// newPieces returns pieces that write to write. Free them at the end.
func newPieces(write func(piece []byte) error) *pieces {
	array := pieceBuffers.Get().(*[16 << 10]byte)
	return &pieces{array: array, buf: array[:0], write: write}
}

func (p *pieces) free() {
	pieceBuffers.Put(p.array)
	p.array, p.buf = nil, nil
}

// flush writes what there is.
func (p *pieces) flush() error {
	if p.err == nil && len(p.buf) > 0 {
		p.err = p.write(p.buf)
		p.wrote = true
	}
	p.buf = p.buf[:0]
	return p.err
}

// next writes a piece if there is one.
func (p *pieces) next() {
	if len(p.buf) >= pieceSize {
		p.flush()
	}
}

// message adds the JSON form of a message, the same in a batch, in a stream and on a
// socket. start is what comes first in the object.
func (p *pieces) message(start string, m *inbox.Message) {
	text := utf8.Valid(m.Body)
	p.buf = appendMessageStart(p.buf, start, m, text)
	p.next()
	for body := m.Body; len(body) > 0 && p.err == nil; p.next() {
		if text {
			n := min(len(body), escapeStep)
			p.buf, body = jsontext.AppendEscaped(p.buf, body[:n]), body[n:]
		} else {
			n := min(len(body), base64Step)
			p.buf, body = base64.StdEncoding.AppendEncode(p.buf, body[:n]), body[n:]
		}
	}
	p.buf = append(p.buf, messageEnd...)
}

const messageEnd = `"}`

// appendMessageStart appends the JSON form of a message up to its body.
func appendMessageStart(to []byte, start string, m *inbox.Message, text bool) []byte {
	to = append(to, '{')
	to = append(to, start...)
	to = append(to, `"cursor":"`...)
	to = m.Cursor.Append(to)
	to = append(to, `","from":`...)
	to = jsontext.AppendString(to, m.From)
	to = append(to, `,"time":"`...)
	to = m.Time.AppendFormat(to, time.RFC3339Nano)
	if text {
		return append(to, `","body":"`...)
	}
	return append(to, `","body64":"`...)
}

// messageSize is how long the JSON form of a message is.
func messageSize(start string, m *inbox.Message) int {
	var buf [2 << 10]byte // an id is at most half of it, escaped
	text := utf8.Valid(m.Body)
	size := len(appendMessageStart(buf[:0], start, m, text)) + len(messageEnd)
	if text {
		return size + jsontext.EscapedSize(m.Body)
	}
	return size + base64.StdEncoding.EncodedLen(len(m.Body))
}
