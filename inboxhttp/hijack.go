package inboxhttp

import (
	"bytes"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"inbox/internal/park"
)

// writeTimeout is how long the client of a connection of our own may take to read an
// answer, or what one look finds for a stream: a reader that is stuck, or that reads a
// byte now and then, holds a goroutine and its messages no longer.
const writeTimeout = 10 * time.Second

// canPark reports whether a request's connection may be taken from net/http and
// parked: HTTP/1.1, and a server that takes connections back.
func (h *Handler) canPark(r *http.Request) bool {
	c := park.ConnOf(r.Context())
	return r.ProtoMajor == 1 && r.ProtoMinor == 1 && c != nil && h.Lot.Lends(c)
}

// answer is the http.ResponseWriter of a request whose connection was taken:
// what a handler writes goes out at a flush, at the end, or when it is a piece.
type answer struct {
	spot   *park.Spot
	common string // header lines
	close  bool   // after this answer
	header http.Header
	status int
	body   []byte    // at most a piece, that has not gone out
	began  bool      // the header has gone out
	chunks bool      // without a length
	until  time.Time // the client has to have read all of it by then, but for the kernel's share
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

// SetWriteDeadline is for http.ResponseController.
func (a *answer) SetWriteDeadline(until time.Time) error {
	a.until = until
	return nil
}

// FlushError is for http.ResponseController.
func (a *answer) FlushError() error {
	if !a.began {
		a.chunks = a.header.Get("Content-Length") == ""
		if a.chunks {
			a.header.Set("Transfer-Encoding", "chunked")
		}
	}
	return a.send("")
}

// finish sends what was not sent yet.
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
	a.header.Write(b) // a bytes.Buffer does not fail
	b.WriteString("\r\n")
	return b.Bytes()
}

// send writes what there is, with the header before it if that has not gone out, and
// end after it.
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

// writeChunk writes data in the chunked coding of RFC 9112, 7.1, with something before
// it and after it.
func writeChunk(spot *park.Spot, before, data []byte, after string, until time.Time) error {
	tail := []byte(after)
	if len(data) > 0 {
		before = append(strconv.AppendInt(before, int64(len(data)), 16), "\r\n"...)
		tail = append(append(make([]byte, 0, 2+len(after)), "\r\n"...), after...)
	}
	return writeParts(spot, before, data, tail, until)
}

// writeParts writes three parts, together when that is not much to copy: a client that
// does not read holds a long part once.
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

// shared keeps one copy of a text that most have in common.
type shared struct{ last atomic.Pointer[string] }

func (s *shared) of(text []byte) string {
	if last := s.last.Load(); last != nil && *last == string(text) {
		return *last
	}
	fresh := string(text)
	s.last.Store(&fresh)
	return fresh
}
