package server

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/pires/go-proxyproto"
)

// given is a connection on which some bytes have arrived and nothing more will.
type given struct {
	net.Conn
	bytes.Reader
}

func (g *given) Read(p []byte) (int, error) { return g.Reader.Read(p) }

// For any input, an accepted header is version 2, and not a byte is read beyond it.
func FuzzReadHeader(f *testing.F) {
	for _, source := range []net.Addr{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}, &net.UnixAddr{Name: "/a", Net: "unix"}} {
		h := proxyproto.HeaderProxyFromAddrs(2, source, source)
		if text, err := h.Format(); err == nil {
			f.Add(append(text, "GET / HTTP/1.1\r\n"...))
		}
	}
	f.Add([]byte("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"))
	f.Add(append(bytes.Clone(proxyproto.SIGV2), 0x20, 0, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, text []byte) {
		conn := &given{Reader: *bytes.NewReader(text)}
		header, err := readHeader(conn)
		if err != nil {
			return
		}
		length := fixedLength + int(binary.BigEndian.Uint16(text[lengthAt:]))
		if read := len(text) - conn.Len(); header.Version != 2 || read != length {
			t.Errorf("version %d, %d bytes read, want %d", header.Version, read, length)
		}
	})
}
