package park

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
)

// Hijack takes a request's connection from net/http, with what was read from it
// beyond the request. A Prefixed is taken off.
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

// Prefixed is a connection of which some bytes were read already, and are to be
// read again.
type Prefixed struct {
	net.Conn
	Idle   bool // what was waited for on it before did not come
	prefix []byte
	read   int  // of the prefix
	beyond bool // something was read after it
}

// securePrefixed is one over TLS. net/http asks it for what becomes Request.TLS.
type securePrefixed struct {
	*Prefixed
	secure *tls.Conn
}

// ConnectionState is that of the TLS connection.
func (c securePrefixed) ConnectionState() tls.ConnectionState { return c.secure.ConnectionState() }

// prefix puts what was read from c before what is still to be read.
func prefix(c net.Conn, read []byte, idle bool) net.Conn {
	p := &Prefixed{Conn: c, prefix: read, Idle: idle}
	if secure, ok := c.(*tls.Conn); ok {
		return securePrefixed{p, secure}
	}
	return p
}

// Unread returns c as a connection of which read is to be read again.
func Unread(c net.Conn, read []byte) net.Conn { return prefix(c, read, false) }

// PrefixedOf returns the Prefixed that c is, or nil.
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

// CloseWrite lets net/http end the connection in order after a last answer.
func (c *Prefixed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn is the connection that c is on.
func (c *Prefixed) NetConn() net.Conn { return c.Conn }

// Drained reports whether all that was put before it was read.
func (c *Prefixed) Drained() bool { return c.read == len(c.prefix) }

// OneRequest returns the prefix if that is all that was read so far, and is one
// HTTP/1 request without a body; else nil. Call it once the connection was
// hijacked.
func (c *Prefixed) OneRequest() []byte {
	if c.beyond || c.read < len(c.prefix) || headerEnd(c.prefix) != len(c.prefix) {
		return nil
	}
	return c.prefix
}

// headerEnd is where the first empty line ends: net/http takes lines that end in
// a line feed alone, too.
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
