package client_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"inbox/client"
)

// Over TLS, polls and sends use HTTP/2, and the socket uses HTTP/1.1.
func TestTLS(t *testing.T) {
	s := start(t, config{})
	var versions sync.Map
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		versions.Store(r.Method+" "+r.Proto, true)
		s.handler.ServeHTTP(w, r)
	}))
	front.EnableHTTP2 = true
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // for the failed handshake
	front.StartTLS()
	t.Cleanup(front.Close)

	for _, pollOnly := range []bool{false, true} {
		s.open("bob")
		bob := s.client("bob", client.Config{URL: front.URL + "/inbox", HTTP: front.Client(), PollOnly: pollOnly})
		send(t, bob, "bob", "hello")
		receive(t, bob, "hello")
		if got := bob.Transport() == "long poll"; got != pollOnly {
			t.Errorf("receives by %q", bob.Transport())
		}
		bob.Leave()
	}
	for _, want := range []string{"POST HTTP/2.0", "GET HTTP/1.1", "GET HTTP/2.0"} {
		if _, ok := versions.Load(want); !ok {
			t.Errorf("there was no %s", want)
		}
	}

	// Neither an unknown certificate nor a server without TLS is worth a retry.
	unknown := &http.Transport{}
	t.Cleanup(unknown.CloseIdleConnections)
	c := s.client("bob", client.Config{URL: front.URL + "/inbox", HTTP: &http.Client{Transport: unknown}})
	for _, err := range []error{c.Send(t.Context(), "bob", nil), receiveError(t, c)} {
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
			t.Errorf("error %v", err)
		}
	}
	c = s.client("bob", client.Config{URL: "https://inbox.test/inbox"})
	for _, err := range []error{c.Send(t.Context(), "bob", nil), receiveError(t, c)} {
		wantErr(t, err, http.ErrSchemeMismatch)
	}
}

func receiveError(tb testing.TB, c *client.Client) error {
	_, err := c.Receive(tb.Context())
	return err
}
