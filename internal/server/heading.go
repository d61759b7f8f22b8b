package server

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"inbox/internal/park"
)

const (
	// headingCost is what a header counts for that has not come whole: about what net/http
	// makes of 16 KiB of very short lines, in bytes.
	headingCost = 256 << 10

	// helloAndRequest is how much of a connection over TLS does not count before a request
	// begins: the client's hello, and a header of a usual size.
	helloAndRequest = 3 << 10

	// prefaceOfHTTP2 is how much net/http reads first without TLS, to see whether a client
	// speaks HTTP/2.
	prefaceOfHTTP2 = 24
)

// heading is a connection that counts for its client while a header comes in parts. One
// that comes whole, as nearly all do, costs a look at it.
type heading struct {
	park.Kernel
	s      *Server
	client netip.Addr  // not valid: nothing counts. Set before net/http reads.
	begins atomic.Bool // a request: what is read belongs to its header
	fresh  atomic.Bool // a request: forget what was read before it
	held   atomic.Bool

	// deadlines are how many net/http sets between two requests: one for the wait, and
	// one for the header, when its first bytes are there. A read beyond the last is for
	// the rest of a header whose beginning may have come with the request before.
	deadlines atomic.Int32
	inHeader  atomic.Bool

	// Of what was read since then. Only Read uses it, which nobody calls twice at once.
	read int
	tail [3]byte
}

// heads returns conn as a heading, if it is the kernel's. Without limits it is as it was.
func (s *Server) heads(conn net.Conn) net.Conn {
	k, ok := conn.(park.Kernel)
	if !ok || s.config.Clients == nil {
		return conn
	}
	h := &heading{Kernel: k, s: s}
	h.begins.Store(true)
	return h
}

// headingOf returns the heading beneath conn, or nil.
func headingOf(conn net.Conn) *heading {
	for conn != nil {
		if h, ok := conn.(*heading); ok {
			return h
		}
		outer, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = outer.NetConn()
	}
	return nil
}

// SetReadDeadline is how net/http shows where it is between two requests.
func (h *heading) SetReadDeadline(t time.Time) error {
	if h.deadlines.Load() > 0 && h.deadlines.Add(-1) == 0 {
		h.inHeader.Store(true)
	}
	return h.Kernel.SetReadDeadline(t)
}

// Read ends the connection of a client that has too many headers without their ends.
func (h *heading) Read(p []byte) (int, error) {
	if h.inHeader.Load() && h.begins.Load() && h.client.IsValid() && !h.held.Load() && !h.hold() {
		return 0, errClosed
	}
	n, err := h.Kernel.Read(p)
	if n == 0 || !h.client.IsValid() || !h.begins.Load() || h.held.Load() {
		return n, err
	}
	if h.fresh.Swap(false) {
		h.read, h.tail = 0, [3]byte{}
	}
	h.read += n
	if h.s.config.TLS != nil {
		if h.read <= helloAndRequest {
			return n, err
		}
	} else if h.isWhole(p[:n]) || h.read <= prefaceOfHTTP2 {
		return n, err
	}
	if !h.hold() {
		return 0, errClosed
	}
	return n, err
}

// errClosed is an error about which net/http says nothing to the client.
var errClosed = &net.OpError{Op: "read", Net: "tcp", Err: net.ErrClosed}

// hold counts a header that has not come whole. It closes the connection of a client that
// has too many of them.
func (h *heading) hold() bool {
	if h.s.config.Clients.Hold(h.client, headingCost) != nil {
		h.Close()
		return false
	}
	h.held.Store(true)
	if !h.begins.Load() { // a handler began meanwhile
		h.release()
	}
	return true
}

// isWhole reports whether a header ends in what was just read.
func (h *heading) isWhole(p []byte) bool {
	var seam [6]byte
	joined := append(append(seam[:0], h.tail[:]...), p[:min(len(p), 3)]...)
	if len(p) >= 3 {
		copy(h.tail[:], p[len(p)-3:])
	} else {
		copy(h.tail[:], joined[len(joined)-3:])
	}
	return ends(joined) || ends(p)
}

// ends finds an empty line. net/http takes lines that end in a line feed alone, too.
func ends(p []byte) bool {
	return bytes.Contains(p, []byte("\n\r\n")) || bytes.Contains(p, []byte("\n\n"))
}

// headed notes that a header is whole: its handler has begun.
func (h *heading) headed() {
	if h != nil && h.begins.Swap(false) {
		h.inHeader.Store(false)
		h.release()
	}
}

// next notes that a request has ended. What is read from now on belongs to the next.
func (h *heading) next() {
	h.fresh.Store(true)
	h.deadlines.Store(2)
	h.begins.Store(true)
}

func (h *heading) release() {
	if h.held.Swap(false) {
		h.s.config.Clients.Release(h.client, headingCost)
	}
}

// Close closes the connection, which counts no more.
func (h *heading) Close() error {
	h.release()
	return h.Kernel.Close()
}

// headed has headers count only until their handlers begin.
func (s *Server) headed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headingOf(park.ConnOf(r.Context())).headed()
		next.ServeHTTP(w, r)
	})
}
