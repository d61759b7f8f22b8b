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
	// headingCost is what an incomplete header counts for, in bytes: about the memory
	// that net/http needs for 16 KiB of very short lines.
	headingCost = 256 << 10

	// helloAndRequest is how many bytes of a TLS connection are free before a request
	// begins: the ClientHello and a header of usual size.
	helloAndRequest = 3 << 10

	// prefaceOfHTTP2 is how many bytes net/http reads first without TLS to detect HTTP/2.
	prefaceOfHTTP2 = 24
)

// heading is a connection that counts toward its client's bytes while a header is
// incomplete. A header that arrives whole, as nearly all do, only costs a scan.
type heading struct {
	park.Kernel
	s      *Server
	client netip.Addr  // invalid: count nothing. Set before net/http reads.
	begins atomic.Bool // a request is beginning: bytes read belong to its header
	fresh  atomic.Bool // a request is beginning: forget what was read before
	held   atomic.Bool

	// deadlines counts down the read deadlines that net/http sets between two requests:
	// one for the idle wait, and one for the header once its first bytes are there. A
	// read after the last one is for the rest of a header whose beginning may have
	// arrived with the request before.
	deadlines atomic.Int32
	inHeader  atomic.Bool

	// Length and end of the bytes read since fresh. Only Read uses these, and calls of
	// Read do not overlap.
	read int
	tail [3]byte
}

// trackHeaders returns conn as a heading if it is the kernel's and there are limits. Otherwise
// it returns conn.
func (s *Server) trackHeaders(conn net.Conn) net.Conn {
	conn = park.RememberReset(conn)
	k, ok := conn.(park.Kernel)
	if !ok || s.config.Clients == nil {
		return conn
	}
	h := &heading{Kernel: k, s: s}
	h.begins.Store(true)
	return h
}

// NetConn returns the wrapped connection.
func (h *heading) NetConn() net.Conn { return h.Kernel }

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

// SetReadDeadline also tracks where net/http is between two requests.
func (h *heading) SetReadDeadline(t time.Time) error {
	if h.deadlines.Load() > 0 && h.deadlines.Add(-1) == 0 {
		h.inHeader.Store(true)
	}
	return h.Kernel.SetReadDeadline(t)
}

// Read closes the connection of a client with too many incomplete headers.
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

// errClosed is an error that net/http does not report to the client.
var errClosed = &net.OpError{Op: "read", Net: "tcp", Err: net.ErrClosed}

// hold counts an incomplete header. It closes the connection and returns false if the
// client has too many.
func (h *heading) hold() bool {
	if h.s.config.Clients.Hold(h.client, headingCost) != nil {
		h.Close()
		return false
	}
	h.held.Store(true)
	if !h.begins.Load() { // a handler has begun meanwhile
		h.release()
	}
	return true
}

// isWhole reports whether p completes a header.
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

// ends reports whether p contains an empty line. Like net/http, it accepts lines that end
// with a line feed alone.
func ends(p []byte) bool {
	return bytes.Contains(p, []byte("\n\r\n")) || bytes.Contains(p, []byte("\n\n"))
}

// headed records that the header is complete: its handler has begun.
func (h *heading) headed() {
	if h != nil && h.begins.Swap(false) {
		h.inHeader.Store(false)
		h.release()
	}
}

// next records that a request has ended. Bytes read from now on belong to the next.
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

// Close closes the connection and stops counting it.
func (h *heading) Close() error {
	h.release()
	return h.Kernel.Close()
}

// headed makes headers count only until their handlers begin.
func (s *Server) headed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headingOf(park.ConnOf(r.Context())).headed()
		next.ServeHTTP(w, r)
	})
}
