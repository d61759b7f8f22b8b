package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pires/go-proxyproto"

	"inbox/internal/clientaddr"
	"inbox/internal/meter"
	"inbox/internal/park"
)

// Layout of a PROXY protocol header, version 2, before the addresses.
const (
	fixedLength   = 16
	commandAt     = 12
	familyAt      = 13
	lengthAt      = 14
	mostAddresses = 4 << 10 // some proxies add a client's certificate
)

// located reads the PROXY protocol header of a trusted proxy, and not one byte more, so
// that the connection can still be parked.
func (s *Server) located(conn net.Conn) (net.Conn, error) {
	header, err := readHeader(conn)
	if err != nil {
		s.config.Refusals.Add(meter.InvalidProtocol, peerOf(conn).Addr())
		if s.refused.Allow() {
			s.config.Log.Warn("refused a connection of a trusted proxy: with --proxy-protocol it must begin with PROXY protocol version 2 (HAProxy: send-proxy-v2)",
				"proxy", conn.RemoteAddr(), "error", err)
		}
		return nil, fmt.Errorf("PROXY protocol from %v: %w", conn.RemoteAddr(), err)
	}
	if header.Command.IsLocal() || header.TransportProtocol.IsUnix() {
		return conn, nil // a connection of the proxy itself, or an unknown address
	}
	source, ok := header.SourceAddr.(*net.TCPAddr)
	if !ok || !clientaddr.MayBeClient(source.AddrPort().Addr()) {
		s.config.Refusals.Add(meter.InvalidSource, peerOf(conn).Addr())
		return conn, nil
	}
	return park.Locate(conn, source.AddrPort()), nil
}

func readHeader(conn net.Conn) (*proxyproto.Header, error) {
	header := make([]byte, fixedLength)
	n, err := io.ReadFull(conn, header)
	switch begin := header[:min(n, len(proxyproto.SIGV2))]; {
	case bytes.HasPrefix(begin, proxyproto.SIGV1):
		return nil, errors.New("got version 1, want version 2")
	case !bytes.HasPrefix(proxyproto.SIGV2, begin):
		return nil, errors.New("the connection does not begin with a PROXY header")
	case err != nil:
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(header[lengthAt:]))
	if length > mostAddresses {
		return nil, fmt.Errorf("a header of %d bytes, want at most %d", length, mostAddresses)
	}
	header = append(header, make([]byte, length)...)
	if _, err := io.ReadFull(conn, header[fixedLength:]); err != nil {
		return nil, err
	}
	if header[familyAt] == byte(proxyproto.UNSPEC) && header[commandAt] == byte(proxyproto.PROXY) {
		header[commandAt] = byte(proxyproto.LOCAL) // the proxy does not know the address
	}
	return proxyproto.Read(bufio.NewReader(bytes.NewReader(header)))
}

// unproxied is a connection from an untrusted peer, which must not use the PROXY
// protocol.
type unproxied struct {
	park.Kernel
	refusals *meter.Refusals
	begun    bool // the first byte has arrived; only Read uses it
}

// NetConn returns the wrapped connection.
func (c *unproxied) NetConn() net.Conn { return c.Kernel }

var errUntrusted = errors.New("PROXY protocol from a peer that is not a trusted proxy")

// Read fails if the first bytes are a PROXY protocol header.
func (c *unproxied) Read(p []byte) (int, error) {
	n, err := c.Kernel.Read(p)
	if c.begun || n == 0 {
		return n, err
	}
	c.begun = true
	if bytes.HasPrefix(p[:n], proxyproto.SIGV2[:min(n, len(proxyproto.SIGV2))]) {
		c.refusals.Add(meter.UntrustedProtocol, peerOf(c).Addr())
		return 0, errUntrusted
	}
	return n, err
}
