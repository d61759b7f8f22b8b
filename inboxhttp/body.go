package inboxhttp

import (
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"inbox/internal/flight"
	"inbox/internal/limit"
	"inbox/internal/park"
	"inbox/internal/problem"
	"inbox/internal/server"
)

// bodyBuffer is the size of net/http's read buffer, in bytes; larger reads bypass it.
// Bodies up to this size do not count as bytes in flight.
const bodyBuffer = 4 << 10

// secureCost is what a body over TLS counts for in addition to its own bytes: crypto/tls
// buffers a whole record.
const secureCost = 32 << 10

// incoming is a body while it is being read. Its bytes count as in flight until release.
type incoming struct {
	flight.Message
	inFlight *flight.Budget
	client   netip.Addr
	until    time.Time      // deadline for the whole body
	secure   *limit.Clients // secureCost is reserved here; nil without TLS
}

// body reads the request body. It allocates memory as bytes arrive, not as Content-Length
// announces them, so that an announcement alone costs the server nothing. A body larger
// than MaxBody fails with problem.TooLarge.
func (h *Handler) body(in *incoming, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > int64(h.MaxBody) {
		return nil, problem.TooLarge
	}
	if r.ContentLength == 0 {
		if !r.ProtoAtLeast(1, 1) && r.Header.Get("Content-Length") == "" {
			// The body may be chunked, which net/http does not decode over HTTP/1.0.
			return nil, badRequest("Over HTTP/1.0 a body needs a Content-Length.")
		}
		return nil, nil
	}
	if r.ContentLength > 0 && r.ContentLength <= bodyBuffer {
		small := make([]byte, r.ContentLength)
		_, err := io.ReadFull(r.Body, small)
		return small, bodyError(err)
	}
	src, rest := r.Body, int(r.ContentLength)
	if rest < 0 {
		src, rest = http.MaxBytesReader(w, src, int64(h.MaxBody)), math.MaxInt
	}
	rc := http.NewResponseController(w)
	if r.TLS != nil { // crypto/tls buffers a record, and the connection is not parked
		if err := h.Clients.Hold(in.client, secureCost); err != nil {
			return nil, err
		}
		in.secure = h.Clients
	}
	in.Cut = func() { rc.SetReadDeadline(time.Now()) } // otherwise the blocked read would keep its memory
	in.until = time.Now().Add(server.BodyTimeout)
	conn, pace, next := inKernel(r), park.Pace{}, 1 // next: read so much before waiting in the kernel
	first := bufferPool.Get().(*[bodyBuffer]byte)
	defer bufferPool.Put(first)
	for rest > 0 {
		// Once its buffer is empty, net/http passes reads of this size straight to the
		// connection. The rest of the body is then in the kernel or still on its way.
		if conn != nil && in.Len() >= next && bodyBuffer < rest && rest < math.MaxInt {
			whole := park.AwaitBytes(conn, in.Len(), rest, &pace, in.until)
			for whole && rest > 0 {
				p, err := in.Room(in.client, rest, in.inFlight)
				if err != nil {
					return nil, err
				}
				if _, err := io.ReadFull(src, p); err != nil {
					return nil, bodyError(err)
				}
				rest -= len(p)
			}
			if whole {
				break
			}
			next = in.Len() + pace.Step()
		}
		n, err := src.Read(first[:min(rest, bodyBuffer)])
		rest -= n
		for part := first[:n]; len(part) > 0; {
			p, err := in.Room(in.client, len(part), in.inFlight)
			if err != nil {
				return nil, err
			}
			part = part[copy(p, part):]
		}
		if err == io.EOF {
			break // the end of a body of unknown length; otherwise rest would be 0
		}
		if err != nil {
			return nil, bodyError(err)
		}
	}
	return in.Bytes(), nil
}

var bufferPool = sync.Pool{New: func() any { return new([bodyBuffer]byte) }}

// bodyError converts a read error into the problem for the client. It keeps deadline
// errors, which become problem.TooSlow.
func bodyError(err error) error {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem.TooLarge
	}
	return badRequest("The body could not be read to its end.")
}

// release returns the reserved bytes to the budget. Call it when the store owns the body
// or the request has failed.
func (in *incoming) release() {
	in.Release(in.client, in.inFlight)
	if in.secure != nil {
		in.secure.Release(in.client, secureCost)
	}
}

// inKernel returns the connection if its unread bytes are exactly those of the body, and
// nil over TLS and HTTP/2, where they are not.
func inKernel(r *http.Request) net.Conn {
	if r.TLS != nil || r.ProtoMajor != 1 {
		return nil
	}
	conn := park.ConnOf(r.Context())
	if p := park.PrefixedOf(conn); p != nil {
		if !p.Drained() {
			return nil
		}
		conn = p.Conn
	}
	return conn
}
