package server

import (
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"inbox/internal/clientaddr"
	"inbox/internal/limit"
)

const (
	// plainTimeout bounds a request over plain HTTP: it is short, and so is its answer.
	plainTimeout = 5 * time.Second
	// mostPlain bounds the connections over plain HTTP. Others wait in the kernel.
	mostPlain = 1000
)

// Plain returns a server that answers short requests over plain HTTP/1.1: redirects, and
// the challenges of an authority. No connection waits for another request.
func Plain(h http.Handler, l *slog.Logger) *http.Server {
	s := limited(0)
	s.Handler = bounded(h)
	s.ReadTimeout, s.ReadHeaderTimeout, s.WriteTimeout = plainTimeout, plainTimeout, plainTimeout
	s.Protocols.SetHTTP2(false)
	s.Protocols.SetUnencryptedHTTP2(false)
	s.ErrorLog = log.New(&serverLog{log: l}, "", 0)
	s.SetKeepAlivesEnabled(false)
	return s
}

// Bounded returns a listener for Plain, which leaves the reserve of descriptors alone, and
// some of its connections to others than one address: an authority is one of them.
func Bounded(ln net.Listener, log *slog.Logger) net.Listener {
	return &fair{netutil.LimitListener(Reserve(ln, log), mostPlain), limit.NewShares(mostPlain / 10)}
}

// fair closes connections of an address that has too many.
type fair struct {
	net.Listener
	shares *limit.Shares
}

func (l *fair) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := clientaddr.Of(conn.RemoteAddr().String())
		if l.shares.Take(client, 1) {
			return &fairConn{Conn: conn, left: func() { l.shares.Give(client, 1) }}, nil
		}
		conn.Close()
	}
}

type fairConn struct {
	net.Conn
	left func()
	once sync.Once
}

func (c *fairConn) Close() error {
	c.once.Do(c.left)
	return c.Conn.Close()
}
