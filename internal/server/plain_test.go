package server

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// On the port for ACME challenges, one address cannot take up all connections. Its places
// become free when its connections end.
func TestPlainPortKeepsRoomForOthers(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	ln := inboxtest.Loopback(t)
	s := Plain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }), log)
	s.ReadHeaderTimeout, s.ReadTimeout = time.Hour, time.Hour // so that no connection ends by itself
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(Bounded(ln, log)); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { s.Close(); serving.Wait() })
	from := func(address string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		conn, err := d.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	answered := func(conn net.Conn) bool {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return line == "HTTP/1.1 200 OK\r\n"
	}
	var stuck []net.Conn
	for range mostPlain / 10 {
		stuck = append(stuck, from("127.0.0.2"))
	}
	if answered(from("127.0.0.2")) {
		t.Error("one address exceeded its share")
	}
	if !answered(from("127.0.0.3")) {
		t.Error("another address got no answer")
	}
	for _, conn := range stuck {
		conn.Close()
	}
	inboxtest.Until(t, "there is room again", func() bool { return answered(from("127.0.0.2")) })
}
