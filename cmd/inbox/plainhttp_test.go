package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// insecure sends bytes to the HTTPS port, in pieces, and returns the response.
func insecure(t *testing.T, r *running, pieces ...string) (*http.Response, string) {
	t.Helper()
	address, _, _ := strings.Cut(strings.TrimPrefix(r.url, "https://"), "/")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, p := range pieces {
		if _, err := io.WriteString(conn, p); err != nil {
			t.Fatal(err)
		}
	}
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%q and %v", all, err)
	}
	method, _, _ := strings.Cut(pieces[0], " ")
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", all, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// A browser that uses plain HTTP on the HTTPS port is redirected to the same address with
// https. Programs get a response that explains what to
// change. TLS works as before.
func TestPlainHTTPOnHTTPSPort(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	r := serve(t, "--tls=self-signed", "--drain=0s", "--base-path=/signal")
	for _, c := range []struct {
		pieces []string
		status int
		to     string
	}{
		{[]string{"GET /signal/call?x=1 HTTP/1.1\r\nHost: 192.0.2.1:3000\r\nAccept: text/html\r\n\r\n"}, 307, "https://192.0.2.1:3000/signal/call?x=1"},
		{[]string{"G", "ET / HT", "TP/1.1\r\nHost: inbox.example", "\r\n\r\n"}, 307, "https://inbox.example/"},
		{[]string{"HEAD /signal/files HTTP/1.1\r\nHost: [2001:db8::1]:3000\r\n\r\n"}, 307, "https://[2001:db8::1]:3000/signal/files"},
		{[]string{"GET /signal/%22%0d%0aX:y HTTP/1.1\r\nHost: a\r\n\r\n"}, 307, "https://a/signal/%22%0d%0aX:y"},
		{[]string{"GET /signal/call HTTP/1.0\r\n\r\n"}, 307, r.url + "/call"},
		{[]string{"GET /signal/inbox HTTP/1.1\r\nHost: a\r\n\r\n"}, 400, ""},
		{[]string{"GET /signal/call HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eA==\r\n\r\n"}, 400, ""},
		{[]string{"GET /signal/peerjs HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"}, 400, ""},
		{[]string{"POST /signal/inbox?to=bob HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n", strings.Repeat("x", 60000)}, 400, ""},
		{[]string{"GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n"}, 400, ""},
		{[]string{"GET / HTTP/1.1\r\nHost: user:password@a\r\n\r\n"}, 400, ""},
		{[]string{"GET http://elsewhere.example HTTP/1.1\r\nHost: a\r\n\r\n"}, 400, ""},
		{[]string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}, 400, ""},
		{[]string{"HELLO\r\n\r\n"}, 400, ""},
		{[]string{"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 17<<10) + "\r\n\r\n"}, 400, ""},
	} {
		res, body := insecure(t, r, c.pieces...)
		if res.StatusCode != c.status || res.Header.Get("Location") != c.to || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%.80q: %s %v", c.pieces[0], res.Status, res.Header)
		}
		if !strings.HasPrefix(c.pieces[0], "HEAD") && !strings.Contains(body, "HTTPS") {
			t.Errorf("%.80q: the response is %q", c.pieces[0], body)
		}
		if strings.Contains(body, "password") {
			t.Errorf("%.80q: the response repeats it: %q", c.pieces[0], body)
		}
	}
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer secure.CloseIdleConnections()
	if res, _ := get(t, secure, r.url+"/inbox?wait=0", "bob", "x"); res.StatusCode != http.StatusNoContent {
		t.Errorf("over TLS: %s", res.Status)
	}
	r.end(t)
}
