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

// plainConn is a connection to the HTTPS port. If it starts with a plain HTTP request
// instead of TLS, plainConn answers it: people type addresses without https://, and would
// otherwise only see that the connection was reset.
type plainConn struct {
	net.Conn
	api   string
	begun bool // the first byte has arrived; only Read uses it
}

// NetConn returns the kernel's connection.
func (c *plainConn) NetConn() net.Conn { return c.Conn }

var errPlain = errors.New("plain HTTP on the HTTPS port")

// Read is called by crypto/tls, first for the ClientHello. A ClientHello starts with a
// byte that no HTTP method starts with.
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

// answer reads the rest of the request, within the deadline of the handshake, and
// redirects browsers to https. Other requests may have sent a password in the clear, so
// they are not redirected: the response explains what to change.
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
			status = http.StatusTemporaryRedirect // temporary, since the server may restart without TLS
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
	// Closing with unread bytes would reset the connection and lose the response.
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		c.Conn.SetReadDeadline(time.Now().Add(time.Second))
		io.CopyN(io.Discard, c.Conn, 256<<10)
	}
}

// redirects reports whether to redirect a request to https. Requests that may contain
// more than an address are refused instead.
func redirects(r *http.Request, where, api string) bool {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	return reads && where != "" && r.URL.Path != api && r.Header.Get("Upgrade") == "" && r.Header.Get("Authorization") == ""
}

// secureURL returns the https URL of the request at host, or "" if the host is invalid.
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
