package inboxhttp

import (
	"bytes"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"inbox/internal/park"
)

// writeTimeout is how long a client may take to read an answer on a hijacked connection,
// or one batch of a stream. A stuck or trickling reader holds a goroutine and its
// messages no longer than this.
const writeTimeout = 10 * time.Second

// canPark reports whether the request's connection can be taken from net/http and parked.
// That needs HTTP/1.1 and a server that takes connections back.
func (h *Handler) canPark(r *http.Request) bool {
	c := park.ConnOf(r.Context())
	return r.ProtoMajor == 1 && r.ProtoMinor == 1 && c != nil && h.Lot.Lends(c)
}

// answer is the http.ResponseWriter of a request whose connection was hijacked. It sends
// what the handler writes on a flush, on finish, or as soon as a whole piece is buffered.
type answer struct {
	spot   *park.Spot
	common string // preformatted header lines
	close  bool   // close the connection after this answer
	header http.Header
	status int
	body   []byte    // not sent yet; at most pieceSize
	began  bool      // the header was sent
	chunks bool      // Transfer-Encoding: chunked
	until  time.Time // write deadline for the whole answer; the kernel may buffer the rest
	err    error
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (n int, err error) {
	a.WriteHeader(http.StatusOK)
	for len(p) > pieceSize-len(a.body) {
		part := min(len(p), pieceSize-len(a.body))
		a.body = append(a.body, p[:part]...)
		n, p = n+part, p[part:]
		if err := a.FlushError(); err != nil {
			return n, err
		}
	}
	a.body = append(a.body, p...)
	return n + len(p), a.err
}

// SetWriteDeadline implements the method that http.ResponseController calls.
func (a *answer) SetWriteDeadline(until time.Time) error {
	a.until = until
	return nil
}

// FlushError implements the method that http.ResponseController calls.
func (a *answer) FlushError() error {
	if !a.began {
		a.chunks = a.header.Get("Content-Length") == ""
		if a.chunks {
			a.header.Set("Transfer-Encoding", "chunked")
		}
	}
	return a.send("")
}

// finish sends the rest of the answer.
func (a *answer) finish() error {
	switch {
	case a.chunks:
		return a.send("0\r\n\r\n")
	case a.began:
		return a.send("")
	case a.status == 0:
		return a.err
	}
	if a.status != http.StatusNoContent {
		setLength(a.header, len(a.body))
	}
	return a.send("")
}

func (a *answer) appendHead(to []byte) []byte {
	if a.close {
		a.header.Set("Connection", "close")
	}
	to = append(to, "HTTP/1.1 "...)
	to = strconv.AppendInt(to, int64(a.status), 10)
	to = append(append(to, ' '), http.StatusText(a.status)...)
	to = time.Now().UTC().AppendFormat(append(to, "\r\nDate: "...), http.TimeFormat)
	b := bytes.NewBuffer(append(append(to, "\r\n"...), a.common...))
	a.header.Write(b) // a bytes.Buffer never fails
	b.WriteString("\r\n")
	return b.Bytes()
}

// send writes the buffered body, preceded by the header if that was not sent yet and
// followed by end.
func (a *answer) send(end string) error {
	var head []byte
	if !a.began {
		a.began = true
		head = a.appendHead(head)
	}
	switch {
	case a.err != nil:
	case a.chunks:
		a.err = writeChunk(a.spot, head, a.body, end, a.until)
	default:
		a.err = writeParts(a.spot, head, a.body, nil, a.until)
	}
	a.body = a.body[:0]
	return a.err
}

// writeChunk writes data as one chunk (RFC 9112, 7.1), with before and after in the same
// write if data is short.
func writeChunk(spot *park.Spot, before, data []byte, after string, until time.Time) error {
	tail := []byte(after)
	if len(data) > 0 {
		before = append(strconv.AppendInt(before, int64(len(data)), 16), "\r\n"...)
		tail = append(append(make([]byte, 0, 2+len(after)), "\r\n"...), after...)
	}
	return writeParts(spot, before, data, tail, until)
}

// writeParts writes three parts, in one write if data is shorter than a piece. A longer
// part is written as it is, so that a client that does not read makes the server keep no
// second copy.
func writeParts(spot *park.Spot, before, data, after []byte, until time.Time) error {
	if len(data) < pieceSize {
		before, data, after = append(append(before, data...), after...), nil, nil
	}
	for _, part := range [...][]byte{before, data, after} {
		if len(part) > 0 {
			if err := spot.Write(part, time.Until(until)); err != nil {
				return err
			}
		}
	}
	return nil
}

// shared deduplicates a string that most connections have in common: it remembers the
// last one.
type shared struct{ last atomic.Pointer[string] }

func (s *shared) of(text []byte) string {
	if last := s.last.Load(); last != nil && *last == string(text) {
		return *last
	}
	fresh := string(text)
	s.last.Store(&fresh)
	return fresh
}
