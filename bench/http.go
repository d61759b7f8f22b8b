package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// conn is an HTTP/1.1 connection with little overhead: it writes prepared requests and
// parses only the parts of a response that are used.
type conn struct {
	net.Conn
	buf  []byte
	r, w int // received but unread bytes are buf[r:w]
}

// dial connects from the i-th of several local addresses. The connection ends after life.
func dial(ctx context.Context, addr string, i int, life time.Duration) (*conn, error) {
	return dialSized(ctx, addr, i, life, 8<<10)
}

func dialSized(ctx context.Context, addr string, i int, life time.Duration, buffer int) (*conn, error) {
	return dialFrom(ctx, addr, net.Dialer{LocalAddr: &net.TCPAddr{IP: loopback(i)}}, life, buffer)
}

func dialFrom(ctx context.Context, addr string, d net.Dialer, life time.Duration, buffer int) (*conn, error) {
	d.Timeout, d.KeepAlive = 10*time.Second, -1
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(life)); err != nil {
		return nil, err
	}
	return &conn{Conn: c, buf: make([]byte, buffer)}, nil
}

// need returns the next n bytes without consuming them. Slices returned since the current
// response began stay valid.
func (c *conn) need(n int) ([]byte, error) {
	for c.w-c.r < n {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	return c.buf[c.r : c.r+n], nil
}

const maxAnswer = 4 << 20

// fill receives more data.
func (c *conn) fill() error {
	if c.w == len(c.buf) {
		if c.w-c.r >= maxAnswer {
			return errors.New("a response is too long")
		}
		grown := make([]byte, max(512, 2*(c.w-c.r)))
		c.w = copy(grown, c.buf[c.r:c.w])
		c.buf, c.r = grown, 0
	}
	n, err := c.Conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == io.EOF && c.w > c.r {
		return io.ErrUnexpectedEOF
	}
	return err
}

// begin makes room for the next response. It invalidates the slices of the previous one.
func (c *conn) begin() {
	switch {
	case c.r == c.w:
		c.r, c.w = 0, 0
	case c.r > len(c.buf)/2:
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
}

// answer is the used part of a response. Its slices are valid until the next response is
// read.
type answer struct {
	status  int
	length  int // of the body; -1 if unknown
	chunked bool
	cursor  []byte
	from    []byte
	head    []byte // status line and headers, including the empty line
	body    []byte
}

// read reads a response with a Content-Length or a chunked body.
func (c *conn) read() (answer, error) {
	a, err := c.readHead()
	if err != nil {
		return a, err
	}
	if a.chunked {
		a.body, err = c.readChunks()
		return a, err
	}
	if a.length < 0 {
		return a, fmt.Errorf("a response with status %d has no length", a.status)
	}
	if a.body, err = c.need(a.length); err != nil {
		return a, err
	}
	c.r += a.length
	return a, nil
}

// readChunks reads a chunked body (RFC 9112, 7.1) without trailers.
func (c *conn) readChunks() (body []byte, err error) {
	for {
		line, err := c.readLine()
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(string(line), 16, 24)
		if err != nil {
			return nil, fmt.Errorf("%.20q is not the start of a chunk", line)
		}
		chunk, err := c.need(int(n) + len(crlf))
		if err != nil {
			return nil, err
		}
		c.r += len(chunk)
		if n == 0 {
			return body, nil
		}
		if chunk = chunk[:n]; body == nil {
			body = chunk // almost always the only one
		} else {
			body = append(bytes.Clone(body), chunk...)
		}
	}
}

func (c *conn) readLine() ([]byte, error) {
	for scanned := 0; ; {
		if i := bytes.Index(c.buf[c.r+scanned:c.w], crlf); i >= 0 {
			line := c.buf[c.r : c.r+scanned+i]
			c.r += len(line) + len(crlf)
			return line, nil
		}
		scanned = max(0, c.w-c.r-1)
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// readHead reads a response up to its body.
func (c *conn) readHead() (answer, error) {
	c.begin()
	for scanned := 0; ; {
		if i := bytes.Index(c.buf[c.r+scanned:c.w], crlf2); i >= 0 {
			head := c.buf[c.r : c.r+scanned+i+len(crlf2)]
			c.r += len(head)
			return parseHead(head)
		}
		scanned = max(0, c.w-c.r-len(crlf2)+1)
		if err := c.fill(); err != nil {
			return answer{}, err
		}
	}
}

// ask sends a request and reads its response.
func (c *conn) ask(request []byte) (answer, error) {
	if _, err := c.Write(request); err != nil {
		return answer{}, err
	}
	return c.read()
}

// must does the same as ask and checks the status.
func (c *conn) must(request []byte, status int) (answer, error) {
	a, err := c.ask(request)
	if err == nil && a.status != status {
		err = unexpected(a)
	}
	return a, err
}

func unexpected(a answer) error {
	return fmt.Errorf("unexpected response %d: %.200s", a.status, a.body)
}

var (
	crlf  = []byte("\r\n")
	crlf2 = []byte("\r\n\r\n")
)

// parseHead parses a status line and headers.
func parseHead(head []byte) (answer, error) {
	a := answer{head: head, length: -1}
	line, rest, _ := bytes.Cut(head, crlf)
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' {
		return a, fmt.Errorf("%.40q is not the start of an HTTP/1 response", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return a, fmt.Errorf("%.40q has no status", line)
	}
	if a.status = status; status == 204 || status == 304 || status < 200 {
		a.length = 0
	}
	for {
		line, rest, _ = bytes.Cut(rest, crlf)
		if len(line) == 0 {
			return a, nil
		}
		before, after, ok := bytes.Cut(line, []byte{':'})
		if !ok {
			return a, fmt.Errorf("%.40q is not a header", line)
		}
		if err := a.header(before, bytes.TrimSpace(after)); err != nil {
			return a, err
		}
	}
}

// header compares the length of the name first, since most headers are not used.
func (a *answer) header(name, value []byte) (err error) {
	is := func(s string) bool { return bytes.EqualFold(name, []byte(s)) }
	switch len(name) {
	case len("X-From"):
		if is("X-From") {
			a.from = value
		}
	case len("Inbox-Cursor"):
		if is("Inbox-Cursor") {
			a.cursor = value
		}
	case len("Content-Length"):
		if is("Content-Length") {
			if a.length, err = strconv.Atoi(string(value)); err != nil || a.length < 0 {
				return fmt.Errorf("%.20q is not a length", value)
			}
		}
	case len("Transfer-Encoding"):
		if is("Transfer-Encoding") {
			a.chunked = true
		}
	}
	return nil
}

// setLinger makes Close reset the connection.
func setLinger(c *conn) error {
	inner := c.Conn
	if secure, ok := inner.(*tls.Conn); ok {
		inner = secure.NetConn()
	}
	tcp, ok := inner.(*net.TCPConn)
	if !ok {
		return errors.New("the connection is not TCP")
	}
	return tcp.SetLinger(0)
}
