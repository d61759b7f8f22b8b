package server

import (
	"net"

	"inbox/internal/park"
)

type accepted struct {
	conn net.Conn
	err  error
}

// listener merges new connections with those that are handed back.
type listener struct {
	net.Listener
	s *Server
}

func (l *listener) accept() {
	for {
		conn, err := l.Listener.Accept()
		if err == nil && l.s.config.TLS != nil {
			if l.s.config.Beneath != nil {
				conn = l.s.config.Beneath(conn)
			}
			conn = park.Secure(conn, l.s.config.TLS)
		}
		select {
		case l.s.conns <- accepted{conn, err}:
			// An error goes out once per Accept: who calls it decides how long to
			// wait before the next.
		case <-l.s.closed:
			if err == nil {
				conn.Close()
			}
			return
		}
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.s.conns:
		return a.conn, a.err
	case <-l.s.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	l.s.once.Do(func() { close(l.s.closed) })
	return err
}

// handBack gives a connection to net/http, as if it were new.
func (s *Server) handBack(conn net.Conn) {
	select {
	case s.conns <- accepted{conn, nil}:
	case <-s.closed:
		conn.Close()
	}
}
