package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// plainConn is a connection to the port of HTTPS that begins with TLS, or with a plain
// request, which it answers itself: people type an address without https://, and would
// read only that the connection was reset.
type plainConn struct {
	net.Conn
	api   string
	begun bool // the first byte has come; only Read uses it
}

// NetConn is the connection that the kernel knows.
func (c *plainConn) NetConn() net.Conn { return c.Conn }

var errPlain = errors.New("plain HTTP on the port of HTTPS")

// Read is called by crypto/tls, first for the client's hello. A hello begins with a byte
// that no method of HTTP has.
func (c *plainConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.begun || n == 0 {
		return n, err
	}
	c.begun = true
	if p[0] < 'A' || p[0] > 'Z' {
		return n, err
	}
	c.answer(p[:n])
	return 0, errPlain
}

// answer reads the rest of a request, in the time that a handshake has, and sends a browser
// to the same address with https. Whatever else was sent over plain HTTP, a password
// perhaps, is not worth repeating: a program is told what to change.
func (c *plainConn) answer(begin []byte) {
	const most = 16 << 10 // as over TLS
	r, err := http.ReadRequest(bufio.NewReader(io.LimitReader(io.MultiReader(bytes.NewReader(begin), c.Conn), most)))
	status, where := http.StatusBadRequest, ""
	if err == nil {
		host := r.Host
		if host == "" {
			host = c.LocalAddr().String()
		}
		if where = secureURL(r, host); redirects(r, where, c.api) {
			status = http.StatusTemporaryRedirect // the next start may be without TLS
		}
	}
	text := "This port speaks HTTPS only."
	if where != "" {
		text = "This port speaks HTTPS only: " + where
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: %d\r\n",
		status, http.StatusText(status), len(text)+1)
	if status == http.StatusTemporaryRedirect {
		fmt.Fprintf(&b, "Location: %s\r\n", where)
	}
	b.WriteString("\r\n")
	if r == nil || r.Method != http.MethodHead {
		b.WriteString(text + "\n")
	}
	if _, err := c.Conn.Write(b.Bytes()); err != nil {
		return
	}
	// A connection that is closed with bytes unread is reset, and the answer lost.
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		c.Conn.SetReadDeadline(time.Now().Add(time.Second))
		io.CopyN(io.Discard, c.Conn, 256<<10)
	}
}

// redirects tells requests of people, who are sent to https, from those that may hold more
// than an address: they are refused.
func redirects(r *http.Request, where, api string) bool {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	return reads && where != "" && r.URL.Path != api && r.Header.Get("Upgrade") == "" && r.Header.Get("Authorization") == ""
}

// secureURL is what a request asked for, with https at that host, or "" if that is none.
func secureURL(r *http.Request, host string) string {
	u, err := url.Parse("https://" + host)
	odd := func(c rune) bool {
		return c > '~' || !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune(".-_:[]", c)
	}
	if err != nil || u.Host != host || u.Hostname() == "" || strings.ContainsFunc(host, odd) || !strings.HasPrefix(r.URL.Path, "/") {
		return ""
	}
	u.Path, u.RawPath, u.RawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	return u.String()
}
