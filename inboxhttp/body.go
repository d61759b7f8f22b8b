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

// bodyBuffer is the size of net/http's buffer: a read that has room for as much goes past
// it. It is also what a body may take without being counted.
const bodyBuffer = 4 << 10

// secureCost is what a body over TLS counts for beside its bytes.
const secureCost = 32 << 10

// incoming is a body that is being read, and that counts as in flight until it is
// released.
type incoming struct {
	flight.Message
	inFlight *flight.Budget
	client   netip.Addr
	until    time.Time      // all of it has to be there
	secure   *limit.Clients // hold secureCost for it; nil without TLS
}

// body reads a body into memory of its size. Memory is taken as the bytes
// arrive, not as they are announced: an announcement costs its sender nothing.
func (h *Handler) body(in *incoming, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > int64(h.MaxBody) {
		return nil, problem.TooLarge
	}
	if r.ContentLength == 0 {
		if !r.ProtoAtLeast(1, 1) && r.Header.Get("Content-Length") == "" {
			// There may be chunks, which net/http does not read over HTTP/1.0.
			return nil, badRequest("Over HTTP/1.0 a body has a Content-Length.")
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
	if r.TLS != nil { // which holds a record, and more than a parked connection does
		if err := h.Clients.Hold(in.client, secureCost); err != nil {
			return nil, err
		}
		in.secure = h.Clients
	}
	in.Cut = func() { rc.SetReadDeadline(time.Now()) } // or it goes on for a while
	in.until = time.Now().Add(server.BodyTimeout)
	conn, pace, next := inKernel(r), park.Pace{}, 1 // what is asked for next, when so much was read
	first := bufferPool.Get().(*[bodyBuffer]byte)
	defer bufferPool.Put(first)
	for rest > 0 {
		// Reads of this size go past the buffer of net/http, but for what it had read
		// already: the rest is in the kernel, or on its way there.
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
			break // of a body of unknown length; with another, rest is 0
		}
		if err != nil {
			return nil, bodyError(err)
		}
	}
	return in.Bytes(), nil
}

var bufferPool = sync.Pool{New: func() any { return new([bodyBuffer]byte) }}

// bodyError says what an error of a read means.
func bodyError(err error) error {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem.TooLarge
	}
	return badRequest("The body could not be read to its end.")
}

// release gives back what the body counts for: it is the store's, or nobody's.
func (in *incoming) release() {
	in.Release(in.client, in.inFlight)
	if in.secure != nil {
		in.secure.Release(in.client, secureCost)
	}
}

// inKernel is the connection whose unread bytes are those of the body, or nil: with TLS
// and over HTTP/2 they are something else.
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
