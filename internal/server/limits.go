package server

import (
	"net/http"
	"time"

	"inbox/internal/park"
)

// limited returns an http.Server with the limits that every public connection needs, for
// handlers that wait at most maxWait. It speaks HTTP/2 over TLS and, for proxies, without
// TLS.
func limited(maxWait time.Duration) *http.Server {
	s := &http.Server{
		ConnContext:       park.ConnContext,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      maxWait + 10*time.Second, // from the end of the header
		IdleTimeout:       75 * time.Second,         // longer than proxies keep a connection
		MaxHeaderBytes:    16<<10 - 4<<10,           // net/http adds 4 KiB
		Protocols:         new(http.Protocols),
		HTTP2:             http2Limits(),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}

// http2Limits bounds the memory for one HTTP/2 connection. It belongs to a single client,
// or to a proxy that opens another connection when all streams are in use.
func http2Limits() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: 32, // each may be an answer in flight
		// The server allocates a whole frame when the frame begins.
		MaxReadFrameSize: 16 << 10,
		// These are for bodies that no handler has read.
		MaxReceiveBufferPerConnection: 64 << 10,
		MaxReceiveBufferPerStream:     64 << 10, // until it knows this, a client assumes 64 KiB less one byte
		MaxDecoderHeaderTableSize:     4 << 10,
		MaxEncoderHeaderTableSize:     4 << 10,
		// If a client reads nothing at all, its answers and the answers to its pings pile
		// up here.
		WriteByteTimeout: writeTimeout,
	}
}

// BodyTimeout is how long a body may take to arrive.
const BodyTimeout = 10 * time.Second

// writeTimeout is how long an HTTP/2 client may read nothing at all.
const writeTimeout = 10 * time.Second

// bounded limits the time of every request's body, whether or not a handler reads it.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// net/http discards an unread body itself, and waits for it. SetReadDeadline
			// fails where there are no deadlines.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(BodyTimeout))
		}
		if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
			// The body may be longer or shorter than net/http assumes, and the bytes
			// after it may be a smuggled request. net/http does not report whether a
			// chunked request also had a Content-Length (RFC 9112, 6.3), nor that an
			// HTTP/1.0 request was chunked (6.1).
			w.Header()["Connection"] = []string{"close"}
		}
		next.ServeHTTP(w, r)
	})
}
