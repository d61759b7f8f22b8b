package inboxhttp

import (
	"encoding/base64"
	"sync"
	"time"
	"unicode/utf8"

	"inbox"
	"inbox/internal/jsontext"
)

// JSON is appended directly to the output buffer: encoding is a large part of the cost of
// delivering a message.

// appendBatchStart appends the JSON of a batch up to its messages.
func appendBatchStart(to []byte, c inbox.Cursor) []byte {
	to = append(to, `{"cursor":"`...)
	to = c.Append(to)
	return append(to, `","messages":[`...)
}

// appendBatchEnd appends the JSON of a batch after its messages.
func appendBatchEnd(to []byte, reset bool) []byte {
	to = append(to, ']')
	if reset {
		to = append(to, `,"reset":true`...)
	}
	return append(to, '}')
}

// pieceSize is how many bytes of an answer are encoded before they are written. A client
// that does not read costs the server about one piece instead of the whole encoded
// answer.
const pieceSize = 8 << 10

// The encoder takes this many bytes of a body per step. Escaping expands one byte to at
// most six, and base64 three to four.
const (
	escapeStep = 1 << 10
	base64Step = 3 << 10
)

// pieceBuffers has buffers for a piece and the output of the step that completes it.
var pieceBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// pieces encodes JSON and writes it piece by piece, so that no message is in memory a
// second time: its escaped form can be six times as long.
type pieces struct {
	array *[16 << 10]byte
	buf   []byte
	write func(piece []byte) error // must not retain piece
	wrote bool                     // at least one piece was written
	err   error                    // the first error of write
}

// newPieces returns an encoder that passes each piece to write. The caller must call
// free.
func newPieces(write func(piece []byte) error) *pieces {
	array := pieceBuffers.Get().(*[16 << 10]byte)
	return &pieces{array: array, buf: array[:0], write: write}
}

func (p *pieces) free() {
	pieceBuffers.Put(p.array)
	p.array, p.buf = nil, nil
}

// flush writes what is buffered.
func (p *pieces) flush() error {
	if p.err == nil && len(p.buf) > 0 {
		p.err = p.write(p.buf)
		p.wrote = true
	}
	p.buf = p.buf[:0]
	return p.err
}

// next flushes if a whole piece is buffered.
func (p *pieces) next() {
	if len(p.buf) >= pieceSize {
		p.flush()
	}
}

// message encodes a message. Batches, streams and sockets use the same form. start is
// inserted at the beginning of the object.
func (p *pieces) message(start string, m *inbox.Message) {
	if m.FromServer() {
		p.event(start, m)
		return
	}
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

// event encodes an event from the server, whose body is JSON already.
func (p *pieces) event(start string, m *inbox.Message) {
	p.buf = appendEventStart(p.buf, start, m)
	for body := m.Body; len(body) > 0 && p.err == nil; p.next() {
		n := min(len(body), base64Step)
		p.buf, body = append(p.buf, body[:n]...), body[n:]
	}
	p.buf = append(p.buf, '}')
}

// appendEventStart appends the JSON of an event up to its body.
func appendEventStart(to []byte, start string, m *inbox.Message) []byte {
	to = append(to, '{')
	to = append(to, start...)
	to = append(to, `"cursor":"`...)
	to = m.Cursor.Append(to)
	to = append(to, `","time":"`...)
	to = m.Time.AppendFormat(to, time.RFC3339Nano)
	return append(to, `","room":`...)
}

const messageEnd = `"}`

// appendMessageStart appends the JSON of a message up to its body.
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

// messageSize returns the length of the encoded message, in bytes.
func messageSize(start string, m *inbox.Message) int {
	var buf [2 << 10]byte // an escaped id takes at most half of it
	if m.FromServer() {
		return len(appendEventStart(buf[:0], start, m)) + len(m.Body) + len("}")
	}
	text := utf8.Valid(m.Body)
	size := len(appendMessageStart(buf[:0], start, m, text)) + len(messageEnd)
	if text {
		return size + jsontext.EscapedSize(m.Body)
	}
	return size + base64.StdEncoding.EncodedLen(len(m.Body))
}
