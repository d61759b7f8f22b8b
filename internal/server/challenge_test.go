package server

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"

	"inbox/internal/inboxtest"
)

// An ACME challenge consists of a handshake only (RFC 8737): the server closes its
// connection and keeps nothing of it. Other clients get HTTP, whatever they offer
// besides.
func TestChallengeHandshake(t *testing.T) {
	const challenge = "acme-tls/1"
	certificate := inboxtest.NewCertificate(t, "test")
	s := New(Config{
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate.Pair}, NextProtos: []string{challenge}},
		Log: slog.New(slog.DiscardHandler),
	})
	ln := inboxtest.Loopback(t)
	if err := s.Listen(ln); err != nil {
		t.Fatal(err)
	}
	s.Handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the server got a request") }))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	before := inboxtest.Descriptors()
	dial := func(offer ...string) *tls.Conn {
		conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost", NextProtos: offer})
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for range 50 {
		conn := dial(challenge)
		if got := conn.ConnectionState().NegotiatedProtocol; got != challenge {
			t.Fatalf("negotiated %q", got)
		}
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%d bytes after the handshake, %v", n, err)
		}
		conn.Close()
	}
	inboxtest.Until(t, "all connections are closed", func() bool { return inboxtest.Descriptors() <= before })
	for _, offer := range [][]string{{challenge, "h2"}, {"http/1.1", challenge}} {
		conn := dial(offer...)
		if got := conn.ConnectionState().NegotiatedProtocol; got == challenge {
			t.Errorf("offered %v, got %s", offer, got)
		}
		conn.Close()
	}
	s.Close()
	serving.Wait()
	if err := s.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
