package park

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
)

// Hijack takes a request's connection from net/http and returns it with the bytes that
// were read beyond the request. If the connection is a Prefixed, Hijack unwraps it.
func Hijack(w http.ResponseWriter) (conn net.Conn, unread []byte, err error) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := buf.Reader.Buffered(); n > 0 {
		peeked, err := buf.Peek(n)
		if err != nil {
			conn.Close()
			return nil, nil, err
		}
		unread = bytes.Clone(peeked)
	}
	if p := PrefixedOf(conn); p != nil {
		conn, unread = p.Conn, append(unread, p.prefix[p.read:]...)
	}
	return conn, unread, nil
}

// Prefixed is a connection whose first bytes were already read and are returned again by
// Read.
type Prefixed struct {
	net.Conn
	Idle   bool // the previous wait on this connection ended without a result
	prefix []byte
	read   int  // bytes of prefix that were returned
	beyond bool // bytes after the prefix were returned
}

// securePrefixed is a Prefixed over TLS. net/http uses ConnectionState for Request.TLS.
type securePrefixed struct {
	*Prefixed
	secure *tls.Conn
}

// ConnectionState returns the state of the TLS connection.
func (c securePrefixed) ConnectionState() tls.ConnectionState { return c.secure.ConnectionState() }

// prefix returns c with read in front of its unread bytes.
func prefix(c net.Conn, read []byte, idle bool) net.Conn {
	p := &Prefixed{Conn: c, prefix: read, Idle: idle}
	if secure, ok := c.(*tls.Conn); ok {
		return securePrefixed{p, secure}
	}
	return p
}

// Unread returns c as a connection whose Read returns the bytes in read first.
func Unread(c net.Conn, read []byte) net.Conn { return prefix(c, read, false) }

// PrefixedOf returns c as a Prefixed, or nil if it is not one.
func PrefixedOf(c net.Conn) *Prefixed {
	switch c := c.(type) {
	case *Prefixed:
		return c
	case securePrefixed:
		return c.Prefixed
	}
	return nil
}

func (c *Prefixed) Read(p []byte) (int, error) {
	if c.read < len(c.prefix) {
		n := copy(p, c.prefix[c.read:])
		c.read += n
		return n, nil
	}
	n, err := c.Conn.Read(p)
	c.beyond = c.beyond || n > 0
	return n, err
}

// CloseWrite lets net/http close the connection in order after its last answer.
func (c *Prefixed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the wrapped connection.
func (c *Prefixed) NetConn() net.Conn { return c.Conn }

// Drained reports whether the whole prefix was read.
func (c *Prefixed) Drained() bool { return c.read == len(c.prefix) }

// OneRequest returns the prefix if it is exactly one HTTP/1 request without a body and
// nothing after it was read. Otherwise it returns nil. Call it after the connection was
// hijacked.
func (c *Prefixed) OneRequest() []byte {
	if c.beyond || c.read < len(c.prefix) || headerEnd(c.prefix) != len(c.prefix) {
		return nil
	}
	return c.prefix
}

// headerEnd returns the position after the first empty line, or -1. Like net/http, it
// accepts lines that end with a line feed alone.
func headerEnd(b []byte) int {
	for i := range b {
		switch {
		case b[i] != '\n':
		case bytes.HasPrefix(b[i+1:], []byte("\n")):
			return i + 2
		case bytes.HasPrefix(b[i+1:], []byte("\r\n")):
			return i + 3
		}
	}
	return -1
}
