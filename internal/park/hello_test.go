package park

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"

	"inbox/internal/inboxtest"
)

// scripted is a connection whose input comes from a Reader.
type scripted struct {
	net.Conn
	io.Reader
}

func (s scripted) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// crypto/tls reads exactly the client's bytes, except that the first record is split in
// two.
func FuzzHello(f *testing.F) {
	record := func(kind byte, n int) []byte {
		return append([]byte{kind, 3, 1, byte(n >> 8), byte(n)}, bytes.Repeat([]byte("hello"), n/5+1)[:n]...)
	}
	for _, b := range [][]byte{
		nil, {22}, {22, 3, 1}, record(22, 0), record(22, 1), record(22, 2), record(22, 3), record(22, 1700), record(22, 16<<10),
		record(23, 1700), []byte("GET / HTTP/1.1\r\n\r\n"), {'G'}, append(record(22, 1014), record(20, 1)...),
	} {
		f.Add(b, uint8(0), false)
		f.Add(append(b, "what follows"...), uint8(7), true)
	}
	f.Fuzz(func(t *testing.T, sent []byte, more uint8, drips bool) {
		var r io.Reader = bytes.NewReader(sent)
		if drips {
			r = iotest.OneByteReader(r)
		}
		b := &bottom{Conn: scripted{Reader: r}, hello: new(hello)}
		var got []byte
		buf := make([]byte, recordHeader+int(more))
		for {
			n, err := b.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				break
			}
		}
		if len(sent) < recordHeader || sent[0] != recordHandshake {
			if !bytes.Equal(got, sent) {
				t.Fatalf("%q was sent, %q read", sent, got)
			}
			return
		}
		// Joined, the parts are the first record.
		first := int(binary.BigEndian.Uint16(sent[3:]))
		want := sent[recordHeader:]
		var content []byte
		for rest := got; ; {
			size := int(binary.BigEndian.Uint16(rest[3:]))
			if size > (first+1)/2 || !bytes.Equal(rest[:3], sent[:3]) {
				t.Fatalf("a part begins with % x", rest[:recordHeader])
			}
			rest = rest[recordHeader:]
			n := min(size, len(rest))
			content, rest = append(content, rest[:n]...), rest[n:]
			if len(content) == first || n < size || len(rest) == 0 {
				content = append(content, rest...)
				break
			}
		}
		if !bytes.Equal(content, want) {
			t.Fatalf("the content differs: %d bytes, want %d", len(content), len(want))
		}
	})
}

// A long ClientHello completes the handshake, whether it arrives whole or byte by byte.
func TestLongHello(t *testing.T) {
	certificate := inboxtest.NewCertificate(t, "test")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, drips := range []bool{false, true} {
			inner, outer := openTCP(t)
			var c net.Conn = inner
			if drips {
				c = scripted{inner, iotest.OneByteReader(inner)}
			}
			server := Secure(c, &tls.Config{Certificates: []tls.Certificate{certificate.Pair}, NextProtos: []string{"x"}})
			protocols := []string{"x"}
			for range 100 {
				protocols = append(protocols, string(bytes.Repeat([]byte("y"), 50)))
			}
			client := tls.Client(outer, &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost", MaxVersion: version, NextProtos: protocols})
			shaken := make(chan error, 1)
			go func() { shaken <- server.Handshake() }()
			if err := errors.Join(client.Handshake(), <-shaken); err != nil {
				t.Fatalf("%s, %v: %v", tls.VersionName(version), drips, err)
			}
			go client.Write([]byte("hello"))
			got := make([]byte, 5)
			if _, err := io.ReadFull(server, got); err != nil || string(got) != "hello" {
				t.Errorf("%q, %v", got, err)
			}
		}
	}
}
