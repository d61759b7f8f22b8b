package server

import (
	"net/http"
	"time"

	"inbox/internal/park"
)

// limited returns a server with the limits that every connection needs on the open
// internet, for handlers that wait at most for maxWait. It speaks HTTP/2 with TLS, and
// without it for proxies.
func limited(maxWait time.Duration) *http.Server {
	s := &http.Server{
		ConnContext:       park.ConnContext,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      maxWait + 10*time.Second, // from the end of the header on
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

// http2Limits bound what a connection over HTTP/2 makes the server hold. A connection is
// one client's, or a proxy's, which opens another when all streams are taken.
func http2Limits() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: 32, // each is an answer that may be on its way
		// The server takes memory for a whole frame when the frame begins.
		MaxReadFrameSize: 16 << 10,
		// These are for bodies that no handler has read.
		MaxReceiveBufferPerConnection: 64 << 10,
		MaxReceiveBufferPerStream:     64 << 10, // until it is told, a client takes it to be 64 KiB less one byte
		MaxDecoderHeaderTableSize:     4 << 10,
		MaxEncoderHeaderTableSize:     4 << 10,
		// A client that reads nothing at all leaves its answers, and the answers to its
		// pings, with the server.
		WriteByteTimeout: writeTimeout,
	}
}

// BodyTimeout is how long a body may take to arrive.
const BodyTimeout = 10 * time.Second

// writeTimeout is how long a client over HTTP/2 may read nothing at all.
const writeTimeout = 10 * time.Second

// bounded sees to the bodies of all requests, whether or not a handler reads them.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// What nobody reads net/http throws away itself, and waits for it. An error
			// means that there are no deadlines here.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(BodyTimeout))
		}
		if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
			// Its length may be another than net/http takes it for, and what follows may
			// have been smuggled in. Of a body in chunks it does not say whether there was
			// a Content-Length too (RFC 9112, 6.3), and over HTTP/1.0 not that there were
			// chunks (6.1).
			w.Header()["Connection"] = []string{"close"}
		}
		next.ServeHTTP(w, r)
	})
}
