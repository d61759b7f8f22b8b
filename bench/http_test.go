package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gobwas/ws"
)

// fakeConn is a connection with received data.
type fakeConn struct {
	net.Conn
	io.Reader
}

func (f fakeConn) Read(b []byte) (int, error) { return f.Reader.Read(b) }

// received returns connections on which s has arrived: at once, byte by byte, and with a
// large buffer. The small buffers have to grow.
func received(s string) map[string]*conn {
	return map[string]*conn{
		"at once":      {Conn: fakeConn{Reader: strings.NewReader(s)}, buf: make([]byte, 7)},
		"byte by byte": {Conn: fakeConn{Reader: iotest.OneByteReader(strings.NewReader(s))}, buf: make([]byte, 7)},
		"roomy":        {Conn: fakeConn{Reader: strings.NewReader(s)}, buf: make([]byte, 4096)},
	}
}

func TestResponses(t *testing.T) {
	const stream = "HTTP/1.1 204 No Content\r\nInbox-Cursor: abc\r\n\r\n" +
		"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-From: a%20b\r\nInbox-Reset: true\r\n\r\nhello" +
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	for name, c := range received(stream) {
		a, err := c.read()
		if err != nil || a.status != 204 || string(a.cursor) != "abc" || len(a.body) != 0 {
			t.Errorf("%s: the first response is %+v, %v", name, a, err)
		}
		a, err = c.read()
		if err != nil || a.status != 200 || string(a.body) != "hello" || string(a.from) != "a%20b" {
			t.Errorf("%s: the second response is %+v, %v", name, a, err)
		}
		if n := len(a.head) + len(a.body); n != len(stream)-len("HTTP/1.1 204 No Content\r\nInbox-Cursor: abc\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") {
			t.Errorf("%s: the second response has %d bytes", name, n)
		}
		if a, err = c.read(); err != nil || a.status != 200 || a.length != 0 {
			t.Errorf("%s: the third response is %+v, %v", name, a, err)
		}
		if _, err = c.read(); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestChunks(t *testing.T) {
	for body, want := range map[string]string{
		"0\r\n\r\n":                               "",
		"5\r\nhello\r\n0\r\n\r\n":                 "hello",
		"5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n": "hello, world",
	} {
		for name, c := range received("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body) {
			if a, err := c.read(); err != nil || string(a.body) != want {
				t.Errorf("%s: %q is parsed as %q, %v", name, body, a.body, err)
			}
		}
	}
}

func TestInvalidResponses(t *testing.T) {
	for _, s := range []string{
		"SSH-2.0-x\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\nuntil the end",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort",
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nContent-Le",
	} {
		for name, c := range received(s) {
			if a, err := c.read(); err == nil {
				t.Errorf("%s: %q is parsed as %+v", name, s, a)
			}
		}
	}
}

func TestFrames(t *testing.T) {
	var long strings.Builder
	for _, payload := range []string{"short", strings.Repeat("m", 300), strings.Repeat("l", 70_000)} {
		if err := ws.WriteFrame(&long, ws.NewTextFrame([]byte(payload))); err != nil {
			t.Fatal(err)
		}
	}
	ws.WriteFrame(&long, ws.NewCloseFrame(ws.NewCloseFrameBody(4409, "replaced")))
	for name, c := range received(long.String()) {
		s := &socket{conn: c}
		for _, n := range []int{5, 300, 70_000} {
			if payload, err := s.next(); err != nil || len(payload) != n {
				t.Errorf("%s: a frame of %d bytes is parsed as %d, %v", name, n, len(payload), err)
			}
		}
		if _, err := s.next(); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "4409") {
			t.Errorf("%s: the close is %v", name, err)
		}
	}
}

func TestSentFrames(t *testing.T) {
	for _, n := range []int{0, 125, 126, 65_535, 65_536} {
		want := strings.Repeat("x", n)
		sent := bytes.NewReader(appendFrame(nil, ws.OpText, []byte(want)))
		h, err := ws.ReadHeader(sent)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err := ws.CheckHeader(h, ws.StateServerSide); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		payload, err := io.ReadAll(sent)
		if err != nil || h.Length != int64(n) {
			t.Errorf("%d bytes are announced as %d, %v", n, h.Length, err)
		}
		if ws.Cipher(payload, h.Mask, 0); string(payload) != want {
			t.Errorf("%d bytes arrive as %d", n, len(payload))
		}
	}
}

func TestStringField(t *testing.T) {
	const object = `{"type":"message","cursor":"c1", "from":"body","n":1,"body":"text"}`
	for name, want := range map[string]string{"type": "message", "cursor": "c1", "from": "body", "body": "text", "n": "", "key": ""} {
		if got := string(stringField([]byte(object), name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
