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

// Whatever comes after the handshake: nobody panics, the socket ends with its
// client, and the server serves the others.
func FuzzSocket(f *testing.F) {
	for _, c := range closes {
		f.Add(c.frames, true, byte(0))
	}
	f.Add(text(`{"type":"open","id":"alice","password":"pw:ALICE"}`), false, byte(3))
	f.Add(slices.Concat(text(sendText("alice", "x", "k")), text(`{"type":"ack","after":"0"}`), frame(fin|opPing, "x")), true, byte(1))
	f.Add(pieces(sendText("alice", "in pieces", "k"), 3, frame(fin|opPing, "")), true, byte(7))
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
		size := max(int(packet), len(frames)/1000, 1) // more packets take too long
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
			t.Error("the socket does not end")
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
			t.Errorf("the server answers %d", answer.StatusCode)
		}
	})
}

// parkedPipe serves from a second listener whose connections leave no trace, as
// those of TCP do, and are parked just as well.
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
