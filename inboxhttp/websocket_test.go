package inboxhttp_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A WebSocket client written from RFC 6455 and independent of the server's code.

// webSocket is the client's end of a socket.
type webSocket struct {
	testing.TB
	s      *server
	conn   net.Conn
	mu     sync.Mutex     // held while a frame is written
	frames chan wireFrame // frames from the server; closed at its end
	muted  atomic.Bool    // do not answer pings
	idle   int            // consecutive pings without another frame
}

// wireFrame is a frame as it was received.
type wireFrame struct {
	op      byte
	payload []byte
}

const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	fin = 0x80
)

// handshake describes a handshake. The default is valid and has no credentials.
type handshake struct {
	id     string // for Basic
	query  string
	header http.Header // replaces the default headers; nil removes one
	method string
	proto  string
	early  []byte // sent in the same packet
	conn   net.Conn
}

// acceptKey computes Sec-WebSocket-Accept (RFC 6455, 1.3).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// shake performs a handshake and returns either a socket or the refusal.
func (s *server) shake(h handshake) (*webSocket, answer) {
	s.Helper()
	w, a, err := s.tryShake(h)
	if err != nil {
		s.Fatalf("no answer to a handshake: %v", err)
	}
	return w, a
}

// tryShake is shake that returns connection errors.
func (s *server) tryShake(h handshake) (*webSocket, answer, error) {
	s.Helper()
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	header := http.Header{
		"Host": {"inbox.test"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {key}, "Sec-Websocket-Protocol": {"inbox.v1"},
	}
	if h.id != "" {
		header.Set("Authorization", basic(h.id+":"+passwordOf(h.id)))
	}
	for name, values := range h.header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s /inbox%s %s\r\n", orElse(h.method, "GET"), h.query, orElse(h.proto, "HTTP/1.1"))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	b.WriteString("\r\n")
	b.Write(h.early)

	if h.conn == nil {
		var err error
		if h.conn, err = s.dial(); err != nil {
			return nil, answer{}, err
		}
		s.Cleanup(func() { h.conn.Close() })
	}
	w := &webSocket{TB: s.TB, s: s, conn: h.conn, frames: make(chan wireFrame, 1<<12)}
	w.mu.Lock() // later writes must follow the handshake
	go func() {
		defer w.mu.Unlock()
		w.writeLocked([]byte(b.String()))
	}()
	r := bufio.NewReader(h.conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, answer{}, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		a, err := read(s, resp)
		return nil, a, err
	}
	for name, want := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Accept": acceptKey(key),
		"Sec-Websocket-Protocol": "inbox.v1", "Sec-Websocket-Extensions": "",
		"Cache-Control": always["Cache-Control"],
	} {
		if got := strings.Join(resp.Header[name], ", "); !strings.EqualFold(got, want) || name == "Sec-Websocket-Accept" && got != want {
			s.Errorf("101 with %s: %q, want %q", name, got, want)
		}
	}
	go w.readFrames(r)
	return w, answer{}, nil
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// dialSocket performs a handshake and fails the test if it is refused.
func (s *server) dialSocket(h handshake) *webSocket {
	s.Helper()
	w, a := s.shake(h)
	if w == nil {
		s.Fatalf("the handshake was answered with %d %s", a.status, a.body)
	}
	return w
}

// socket opens a socket of id.
func (s *server) socket(id, query string) *webSocket {
	s.Helper()
	w := s.dialSocket(handshake{id: id, query: query})
	w.wantOpened(false)
	return w
}

// readFrames checks every frame against RFC 6455, 5: a server must not mask its frames
// and must use the shortest length. This server does not fragment, either.
func (w *webSocket) readFrames(r *bufio.Reader) {
	defer close(w.frames)
	for {
		f, err := readFrame(r)
		if err != nil {
			if err != io.EOF && strings.HasPrefix(err.Error(), "frame:") {
				w.Error(err)
			}
			return
		}
		if f.op == opPing && !w.muted.Load() {
			go w.write(frame(fin|opPong, string(f.payload))) // the server may be writing too
		}
		w.frames <- f
	}
}

func readFrame(r *bufio.Reader) (wireFrame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return wireFrame{}, err
	}
	f := wireFrame{op: head[0] & 0x0f}
	if head[0]&0xf0 != fin || head[1]&0x80 != 0 {
		return f, fmt.Errorf("frame: a header of % x", head)
	}
	length, least := int(head[1]), 0
	switch length {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return f, err
		}
		length, least = int(binary.BigEndian.Uint16(b[:])), 126
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return f, err
		}
		length, least = int(binary.BigEndian.Uint64(b[:])), 1<<16
	}
	control := f.op == opPing || f.op == opPong || f.op == opClose
	if length < least || length > 1<<24 || control && length > 125 || !control && f.op != opText {
		return f, fmt.Errorf("frame: %d bytes of kind %x", length, f.op)
	}
	f.payload = make([]byte, length)
	_, err := io.ReadFull(r, f.payload)
	return f, err
}

// frame returns a client's frame: masked, with the shortest length.
func frame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return appendMasked(b, payload)
}

func appendMasked(b []byte, payload string) []byte {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

// text returns a whole message in one frame.
func text(payload string) []byte { return frame(fin|opText, payload) }

// write writes bytes and ignores errors.
func (w *webSocket) write(parts ...[]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeLocked(slices.Concat(parts...))
}

func (w *webSocket) writeLocked(b []byte) {
	w.conn.SetWriteDeadline(time.Now().Add(w.s.patience()))
	w.conn.Write(b)
}

// say sends a text message.
func (w *webSocket) say(format string, values ...any) {
	w.write(text(fmt.Sprintf(format, values...)))
}

// send sends a send frame.
func (w *webSocket) send(to, body, key string) { w.write(text(sendText(to, body, key))) }

func sendText(to, body, key string) string {
	return fmt.Sprintf(`{"type":"send","to":%s,"body":%s,"key":%s}`, quote(to), quote(body), quote(key))
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// patience is how long to wait before giving up a test that would hang. In a bubble it
// costs nothing.
func (s *server) patience() time.Duration {
	if s.bubble {
		return 5 * time.Minute
	}
	return 2 * time.Minute
}

// next returns the next frame, or false at the end.
func (w *webSocket) next() (wireFrame, bool) {
	w.Helper()
	select {
	case f, ok := <-w.frames:
		if w.idle++; !ok || f.op != opPing {
			w.idle = 0
		} else if w.idle > 100 {
			w.Fatal("there are only pings")
		}
		return f, ok
	case <-time.After(w.s.patience()):
		w.Fatalf("nothing arrived in %v", w.s.patience())
		return wireFrame{}, false
	}
}

// said is a message from the server.
type said struct {
	Type, Cursor, From, Time, Key, Code string
	Body                                *string
	Body64                              []byte
	Replayed, Reset                     *bool
	MaxBody                             int
	Status, RetryAfter                  int
}

func (m said) content() string { return message{Body: m.Body, Body64: m.Body64}.content() }

// hear returns the next message from the server.
func (w *webSocket) hear() said {
	w.Helper()
	for {
		f, ok := w.next()
		switch {
		case !ok:
			w.Fatal("the socket ended without a close frame")
		case f.op == opClose:
			w.Fatalf("the socket was closed: %d %q", closeCode(f), f.payload[min(2, len(f.payload)):])
		case f.op == opText:
			var m said
			dec := json.NewDecoder(strings.NewReader(string(f.payload)))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&m); err != nil {
				w.Fatalf("%s: %v", f.payload, err)
			}
			return m
		}
	}
}

func (w *webSocket) wantOpened(reset bool) (cursor string) {
	w.Helper()
	m := w.hear()
	if m.Type != "opened" || m.Cursor == "" || (m.Reset != nil) != reset || m.Reset != nil && !*m.Reset || m.MaxBody <= 0 {
		w.Fatalf("got %+v, want opened (reset: %v)", m, reset)
	}
	return m.Cursor
}

func (w *webSocket) wantMessages(from string, bodies ...string) (cursor string) {
	w.Helper()
	for _, body := range bodies {
		m := w.hear()
		if m.Type != "message" || m.content() != body || m.From != from || m.Cursor == "" || m.Time == "" {
			w.Fatalf("got %.200v from %s, want the message %.50q from %s", m, m.From, body, from)
		}
		cursor = m.Cursor
	}
	return cursor
}

func (w *webSocket) wantSent(key string, replayed bool) {
	w.Helper()
	m := w.hear()
	if m.Type != "sent" || m.Key != key || (m.Replayed != nil) != replayed || m.Replayed != nil && !*m.Replayed {
		w.Fatalf("got %+v, want sent %q (replayed: %v)", m, key, replayed)
	}
}

func (w *webSocket) wantError(key, code string) {
	w.Helper()
	if m := w.hear(); m.Type != "error" || m.Key != key || m.Code != code || m.Status != statuses[code] {
		w.Fatalf("got %+v, want the error %s for %q", m, code, key)
	}
}

// wantPong fails the test unless this pong is the next frame other than a ping.
func (w *webSocket) wantPong(payload string) {
	w.Helper()
	for {
		f, ok := w.next()
		if ok && f.op == opPing {
			continue
		}
		if !ok || f.op != opPong || string(f.payload) != payload {
			w.Fatalf("got %x %q, want the pong %q", f.op, f.payload, payload)
		}
		return
	}
}

func closeCode(f wireFrame) int {
	if len(f.payload) < 2 {
		return 1005
	}
	return int(binary.BigEndian.Uint16(f.payload))
}

// wantClose fails the test unless the server closes next with one of these codes and then
// ends the connection.
func (w *webSocket) wantClose(codes ...int) {
	w.Helper()
	for {
		f, ok := w.next()
		if ok && (f.op == opPing || f.op == opPong) {
			continue
		}
		if !ok || f.op != opClose || !slices.Contains(codes, closeCode(f)) {
			w.Fatalf("got %x %d %q (%v), want a close with %d", f.op, closeCode(f), f.payload, ok, codes)
		}
		break
	}
	w.wantEnd()
}

// wantEnd fails the test unless the connection ends now.
func (w *webSocket) wantEnd() {
	w.Helper()
	for f, ok := w.next(); ok; f, ok = w.next() {
		if f.op != opPing && f.op != opPong {
			w.Fatalf("got %x %q, want the end", f.op, f.payload)
		}
	}
	w.conn.Close()
}

var keys atomic.Int64 // numbers the keys of usable

// usable fails the test unless the socket can still send and receive.
func (w *webSocket) usable(id string) {
	w.Helper()
	key := fmt.Sprint("usable-", keys.Add(1))
	w.send(id, "to myself", key)
	for range 2 {
		m := w.hear()
		if m.Type == "message" && m.content() == "to myself" {
			w.say(`{"type":"ack","after":%q}`, m.Cursor)
		} else if m.Type != "sent" || m.Key != key {
			w.Fatalf("got %+v", m)
		}
	}
}

// socketWires are the paths between a socket and its client: memory and TLS, with a
// goroutine that reads, and parked TCP.
var socketWires = []wire{
	memory,
	tcp,
	overTLS,
	twoServers,
}
