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
	// plainTimeout bounds a request over plain HTTP. Requests and answers are short.
	plainTimeout = 5 * time.Second
	// mostPlain bounds the connections over plain HTTP. Further ones wait in the kernel.
	mostPlain = 1000
)

// Plain returns a server for short requests over plain HTTP/1.1: redirects and ACME
// challenges. It has no keep-alive.
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

// Bounded returns a listener for Plain. It respects the reserve of descriptors, and a
// single address cannot use up all its connections, so that an ACME authority gets
// through.
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
