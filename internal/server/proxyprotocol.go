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

// What a header of the PROXY protocol begins with, before the addresses.
const (
	fixedLength   = 16
	commandAt     = 12
	familyAt      = 13
	lengthAt      = 14
	mostAddresses = 4 << 10 // some proxies add the certificate of a client
)

// located reads the PROXY protocol of a trusted proxy and not a byte beyond it, so that the
// connection can still park.
func (s *Server) located(conn net.Conn) (net.Conn, error) {
	header, err := readHeader(conn)
	if err != nil {
		s.config.Refusals.Add(meter.InvalidProtocol, peerOf(conn).Addr())
		if s.refused.Allow() {
			s.config.Log.Warn("connections of a trusted proxy are refused: with --proxy-protocol each has to begin with its version 2 (HAProxy: send-proxy-v2)",
				"proxy", conn.RemoteAddr(), "error", err)
		}
		return nil, fmt.Errorf("PROXY protocol from %v: %w", conn.RemoteAddr(), err)
	}
	if header.Command.IsLocal() || header.TransportProtocol.IsUnix() {
		return conn, nil // of the proxy itself, or without an address
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
		return nil, errors.New("version 1, want version 2")
	case !bytes.HasPrefix(proxyproto.SIGV2, begin):
		return nil, errors.New("the connection does not begin with it")
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

// unproxied is a connection from a peer that is no trusted proxy, and must not begin with
// the PROXY protocol.
type unproxied struct {
	park.Kernel
	refusals *meter.Refusals
	begun    bool // the first byte has come; only Read uses it
}

// NetConn is the connection beneath.
func (c *unproxied) NetConn() net.Conn { return c.Kernel }

var errUntrusted = errors.New("PROXY protocol from a peer that is no trusted proxy")

// Read refuses a first byte that begins neither HTTP nor TLS.
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
