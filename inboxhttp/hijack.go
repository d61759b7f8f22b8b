package inboxhttp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"inbox/internal/park"
)

// writeTimeout is how long a write to a connection of our own may take: a reader
// that is stuck holds a goroutine and its messages no longer.
const writeTimeout = 10 * time.Second

// canPark reports whether a request's connection may be taken from net/http and
// parked: HTTP/1.1, no TLS, and a server that takes connections back.
func (h *Handler) canPark(r *http.Request) bool {
	if h.back == nil || r.TLS != nil || r.ProtoMajor != 1 || r.ProtoMinor != 1 {
		return false
	}
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	if c, ok := conn.(*park.Prefixed); ok {
		conn = c.Conn
	}
	return conn != nil && h.lot.Watches(conn)
}

// spotContext is the context of a connection that net/http no longer knows.
func spotContext(spot *park.Spot) context.Context {
	return context.WithValue(context.Background(), connKey{}, spot)
}

// answer is the http.ResponseWriter of a request whose connection was taken:
// what a handler writes goes out at a flush, at the end, or when it is a piece and
// has no length.
type answer struct {
	spot   *park.Spot
	common string // header lines
	close  bool   // after this answer
	header http.Header
	status int
	open   bool // the header went out without a length: chunks follow
	body   bytes.Buffer
	err    error
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body.Write(p)
	if a.body.Len() >= pieceSize && a.header.Get("Content-Length") == "" {
		return len(p), a.FlushError()
	}
	return len(p), a.err
}

// FlushError is for http.ResponseController.
func (a *answer) FlushError() error {
	if a.header.Get("Content-Length") != "" {
		return a.finish()
	}
	body := a.take()
	if !a.open {
		a.header.Set("Transfer-Encoding", "chunked")
		a.open = true
		a.head()
	}
	writeChunk(&a.body, body)
	return a.send()
}

// take empties the body.
func (a *answer) take() []byte {
	body := bytes.Clone(a.body.Bytes())
	a.body.Reset()
	return body
}

// finish sends what was not sent yet.
func (a *answer) finish() error {
	switch {
	case a.open:
		a.open = false
		writeChunk(&a.body, a.take())
		a.body.WriteString("0\r\n\r\n")
	case a.status != 0:
		body := a.take()
		if a.status != http.StatusNoContent {
			a.header.Set("Content-Length", strconv.Itoa(len(body)))
		}
		a.head()
		a.body.Write(body)
	default:
		return a.err
	}
	a.status = 0
	return a.send()
}

func (a *answer) head() {
	if a.close {
		a.header.Set("Connection", "close")
	}
	b := append(a.body.AvailableBuffer(), "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(append(b, ' '), http.StatusText(a.status)...)
	b = time.Now().UTC().AppendFormat(append(b, "\r\nDate: "...), http.TimeFormat)
	a.body.Write(append(append(b, "\r\n"...), a.common...))
	a.header.Write(&a.body)
	a.body.WriteString("\r\n")
}

func (a *answer) send() error {
	if a.err == nil {
		a.err = a.spot.Write(a.body.Bytes(), writeTimeout)
	}
	a.body.Reset()
	return a.err
}

// writeChunk is the chunked coding of RFC 9112, 7.1.
func writeChunk(b *bytes.Buffer, data []byte) {
	if len(data) > 0 {
		fmt.Fprintf(b, "%x\r\n", len(data))
		b.Write(data)
		b.WriteString("\r\n")
	}
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
