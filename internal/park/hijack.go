package park

import (
	"bytes"
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
	if c, ok := conn.(*Prefixed); ok {
		conn, unread = c.Conn, append(unread, c.prefix[c.read:]...)
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

// Prefix puts what was read from c before what is still to be read.
func Prefix(c net.Conn, read []byte, idle bool) *Prefixed {
	return &Prefixed{Conn: c, prefix: read, Idle: idle}
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

// NetConn is the connection that the kernel knows.
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
