package inboxtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// patience is how long to wait before failing a test that would hang.
const patience = 2 * time.Minute

// A Socket is the client's side of a WebSocket. Frames and Code are set by Read.
type Socket struct {
	testing.TB
	Conn   net.Conn
	Frames chan string  // text frames from the server; closed when the connection ends
	Code   atomic.Int64 // of the server's close frame
	Muted  atomic.Bool  // leave pings unanswered

	reader io.Reader
	mu     sync.Mutex // held while a frame is written
}

// DialSocket connects, with a connection that ends with the test. It does not read yet.
func DialSocket(tb testing.TB, dialer ws.Dialer, url string) (*Socket, error) {
	tb.Helper()
	conn, early, _, err := dialer.Dial(tb.Context(), url)
	if err != nil {
		return nil, err
	}
	s := &Socket{TB: tb, Conn: conn, Frames: make(chan string, 1<<14), reader: conn}
	tb.Cleanup(func() {
		conn.Close()
		if code := s.Code.Load(); code != 0 && tb.Failed() {
			tb.Logf("the server had closed a socket of %s with %d", url, code)
		}
	})
	if early != nil { // frames that arrived with the answer to the handshake
		s.reader = early
	}
	return s, nil
}

// Read passes text frames to Frames and answers pings until the connection ends.
func (s *Socket) Read() {
	defer close(s.Frames)
	for {
		op, payload, err := ReadFrame(s.reader)
		if err != nil {
			return
		}
		switch op {
		case ws.OpText:
			s.Frames <- string(payload)
		case ws.OpPing:
			if !s.Muted.Load() {
				go s.Write(ws.NewPongFrame(payload)) // in the background: the server may be writing too
			}
		case ws.OpClose:
			code, _ := ws.ParseCloseFrameData(payload)
			s.Code.Store(int64(code))
			return
		}
	}
}

// Write sends a frame. A lost one shows as a missing answer.
func (s *Socket) Write(f ws.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Conn.SetWriteDeadline(time.Now().Add(time.Minute))
	b, err := ws.CompileFrame(ws.MaskFrame(f))
	if err != nil {
		panic(err)
	}
	s.Conn.Write(b)
}

// Say sends a text frame.
func (s *Socket) Say(text string) { s.Write(ws.NewTextFrame([]byte(text))) }

// Hear returns the next text frame.
func (s *Socket) Hear() string {
	s.Helper()
	select {
	case f, ok := <-s.Frames:
		if !ok {
			s.Fatalf("the socket was closed with %d", s.Code.Load())
		}
		return f
	case <-time.After(patience):
		s.Fatalf("nothing arrived in %v", patience)
		return ""
	}
}

// Want fails the test unless the next frame is this JSON, ignoring the order of members.
func (s *Socket) Want(frame string) {
	s.Helper()
	if got := s.Hear(); !sameJSON(got, frame) {
		s.Fatalf("got %.300s, want %.300s", got, frame)
	}
}

// WantClosed fails the test unless the server closes next with this code.
func (s *Socket) WantClosed(code int) {
	s.Helper()
	select {
	case f, ok := <-s.Frames:
		if ok {
			s.Fatalf("got %.300q, want the end", f)
		}
		if got := int(s.Code.Load()); got != code {
			s.Fatalf("closed with %d, want %d", got, code)
		}
		s.Conn.Close()
	case <-time.After(patience):
		s.Fatalf("not closed in %v", patience)
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}
