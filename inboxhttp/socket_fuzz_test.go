package inboxhttp_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// For any bytes after the handshake, nothing panics, the socket ends with its client, and
// the server still serves others.
func FuzzSocket(f *testing.F) {
	for _, c := range closes {
		f.Add(c.frames, true, byte(0))
	}
	f.Add(text(`{"type":"open","id":"alice","password":"pw:ALICE"}`), false, byte(3))
	f.Add(slices.Concat(text(sendText("alice", "x", "k")), text(`{"type":"ack","after":"0"}`), frame(fin|opPing, "x")), true, byte(1))
	f.Add(pieces(sendText("alice", "in fragments", "k"), 3, frame(fin|opPing, "")), true, byte(7))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), true, byte(0))

	s := start(f, config{sockets: true})
	dial := parkedPipe(f, s)
	f.Fuzz(func(t *testing.T, frames []byte, opened bool, packet byte) {
		conn := dial(t)
		id := "alice"
		if !opened {
			id = ""
		}
		r := bufio.NewReader(conn)
		go io.WriteString(conn, rawHandshake(id))
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", resp, err)
		}
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := readFrame(r); err != nil {
					ended <- err
					return
				}
			}
		}()
		size := max(int(packet), len(frames)/1000, 1) // with more packets it would take too long
		for part := range slices.Chunk(frames, size) {
			if _, err := conn.Write(part); err != nil {
				break
			}
		}
		conn.(interface{ CloseWrite() error }).CloseWrite()
		select {
		case err := <-ended:
			if err != io.EOF && err.Error()[:5] == "frame" {
				t.Error(err)
			}
		case <-time.After(s.patience()):
			t.Error("the socket did not end")
		}
		conn.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/inbox?wait=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("bob", "b")
		answer, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Body.Close(); answer.StatusCode != http.StatusNoContent {
			t.Errorf("the server answered %d", answer.StatusCode)
		}
	})
}

// parkedPipe serves a Unix socket, whose connections park like TCP connections but leave
// none behind in TIME_WAIT.
func parkedPipe(f *testing.F, s *server) func(testing.TB) net.Conn {
	address := f.TempDir() + "/s"
	ln, err := net.Listen("unix", address)
	if err != nil {
		f.Fatal(err)
	}
	go s.http.Serve(ln) // ends with the server
	return func(tb testing.TB) net.Conn {
		conn, err := net.Dial("unix", address)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { conn.Close() })
		return conn
	}
}
