package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"inbox/internal/inboxtest"
	"inbox/internal/limit"
	"inbox/internal/meter"
)

// limitedServer starts a server that answers every request immediately.
func limitedServer(t *testing.T, c Config) (address string, config *tls.Config) {
	c.MaxWait, c.Log = time.Minute, slog.New(slog.DiscardHandler)
	if c.TLS != nil {
		certificate := inboxtest.NewCertificate(t, "test")
		c.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.Pair}}
		config = &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost"}
	}
	s := New(c)
	ln := inboxtest.Loopback(t)
	if err := s.Listen(ln); err != nil {
		t.Fatal(err)
	}
	s.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	var serving sync.WaitGroup
	serving.Go(func() { s.Serve() })
	t.Cleanup(func() {
		s.Close()
		serving.Wait()
		if err := s.Wait(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return ln.Addr().String(), config
}

// dialFrom connects from an address and, with TLS, performs the handshake.
func dialFrom(t *testing.T, from, to string, config *tls.Config) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if config != nil {
		return tls.Client(c, config)
	}
	return c
}

// answers reports whether a request on c is answered.
func answers(c net.Conn) bool {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return false
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusOK
}

func TestConnectionsOfOneAddress(t *testing.T) {
	for _, secure := range []*tls.Config{nil, {}} {
		to, config := limitedServer(t, Config{TLS: secure, Clients: limit.NewClients(limit.Config{Connections: 3})})
		var open []net.Conn
		for range 3 {
			c := dialFrom(t, "127.0.0.2", to, config)
			if !answers(c) {
				t.Fatal("a connection within the limit got no answer")
			}
			open = append(open, c)
		}
		for range 10 {
			if answers(dialFrom(t, "127.0.0.2", to, config)) {
				t.Error("a connection beyond the limit got an answer")
			}
		}
		if !answers(dialFrom(t, "127.0.0.4", to, config)) || !answers(open[0]) {
			t.Error("another address, or an open connection, got no answer")
		}
		open[1].Close()
		inboxtest.Until(t, "another connection is answered", func() bool { return answers(dialFrom(t, "127.0.0.2", to, config)) })
	}
}

// The limit of one address does not apply to a trusted proxy, whose connections belong to
// many clients.
func TestConnectionsOfATrustedProxy(t *testing.T) {
	to, _ := limitedServer(t, Config{Clients: limit.NewClients(limit.Config{Connections: 1}), Proxies: trusting(t, "127.0.0.2")})
	for range 5 {
		if !answers(dialFrom(t, "127.0.0.2", to, nil)) {
			t.Error("a connection of a trusted proxy got no answer")
		}
	}
}

// Beyond the server's limit, new connections wait until others end.
func TestConnectionsOfAServer(t *testing.T) {
	refusals := meter.NewRefusals(false)
	to, _ := limitedServer(t, Config{MaxConnections: 2, Refusals: refusals})
	first, second := dialFrom(t, "127.0.0.2", to, nil), dialFrom(t, "127.0.0.3", to, nil)
	if !answers(first) || !answers(second) {
		t.Fatal("a connection within the limit got no answer")
	}
	third := dialFrom(t, "127.0.0.4", to, nil)
	answered := make(chan bool, 1)
	go func() { answered <- answers(third) }()
	select {
	case <-answered:
		t.Fatal("a third connection did not wait")
	case <-time.After(5 * resumeAfter): // there is no event to wait for
	}
	first.Close()
	if !<-answered {
		t.Error("the third connection got no answer after another had ended")
	}
	if refusals.Count(meter.ServerConnections) == 0 {
		t.Error("the wait was not counted")
	}
}

// A client that floods the server with handshakes is refused before the handshake.
func TestFloodOfHandshakes(t *testing.T) {
	to, config := limitedServer(t, Config{TLS: &tls.Config{}, Clients: limit.NewClients(limit.Config{Requests: limit.Rate{PerSecond: 1e-3, Burst: 3}})})
	shaken := 0
	for range 10 {
		c := dialFrom(t, "127.0.0.2", to, config).(*tls.Conn)
		if c.Handshake() == nil {
			shaken++
		}
		c.Close()
	}
	if shaken != 6 { // three requests and three refusals
		t.Errorf("%d handshakes, want 6", shaken)
	}
	if !answers(dialFrom(t, "127.0.0.3", to, config)) {
		t.Error("another address got no answer")
	}
}

// An incomplete header also counts if its beginning arrives together with the previous
// request or while that is answered. The test also detects if net/http changes the order
// in which it sets deadlines.
func TestHeadersAfterARequest(t *testing.T) {
	for _, secure := range []*tls.Config{nil, {}} {
		clients := limit.NewClients(limit.Config{Bytes: 4 * headingCost})
		to, config := limitedServer(t, Config{TLS: secure, Clients: clients})
		for range 4 {
			c := dialFrom(t, "127.0.0.2", to, config)
			defer c.Close()
			whole := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
			if _, err := io.WriteString(c, whole+strings.Repeat(whole, 2)+"GET / HTTP/1.1\r\nHost: x\r\n"+strings.Repeat("a:\r\n", 300)); err != nil {
				t.Fatal(err)
			}
		}
		inboxtest.Until(t, "the headers have arrived", func() bool { return isFull(clients, "127.0.0.2") })
	}
}

// isFull reports whether a client has used up its bytes in flight.
func isFull(clients *limit.Clients, address string) bool {
	client := netip.MustParseAddr(address)
	if clients.Hold(client, 1) != nil {
		return true
	}
	clients.Release(client, 1)
	return false
}

// Incomplete headers count for their client, including those of later requests. Complete
// headers do not count, however many there are.
func TestIncompleteHeaders(t *testing.T) {
	for _, secure := range []*tls.Config{nil, {}} {
		clients := limit.NewClients(limit.Config{Bytes: 4 * headingCost})
		to, config := limitedServer(t, Config{TLS: secure, Clients: clients})
		start := "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a:\r\n", 800)
		var stuck []net.Conn
		for i := range 4 {
			c := dialFrom(t, "127.0.0.2", to, config)
			if i%2 == 0 && !answers(c) {
				t.Fatal("no answer to a whole request")
			}
			if _, err := io.WriteString(c, start); err != nil {
				t.Fatal(err)
			}
			stuck = append(stuck, c)
		}
		inboxtest.Until(t, "the headers have arrived", func() bool { return isFull(clients, "127.0.0.2") })
		c := dialFrom(t, "127.0.0.2", to, config)
		io.WriteString(c, start)
		if got, _ := io.ReadAll(c); len(got) > 0 && !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) { // and then the connection ends
			t.Errorf("a header beyond the share was answered with %q", got)
		}
		if !answers(dialFrom(t, "127.0.0.2", to, config)) || !answers(dialFrom(t, "127.0.0.3", to, config)) {
			t.Error("a whole request got no answer")
		}
		for i, c := range stuck { // complete one, or close the connection
			if i == 0 {
				io.WriteString(c, "\r\n")
				continue
			}
			c.Close()
		}
		inboxtest.Until(t, "nothing counts any more", func() bool { return clients.Held() == 0 })
	}
}
