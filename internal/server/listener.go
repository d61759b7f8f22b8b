package server

import (
	"net"
	"sync"
)

type accepted struct {
	conn net.Conn
	err  error
}

// listener merges the new connections of several listeners with those that are handed
// back. It is the one that net/http knows.
type listener struct {
	all      []net.Listener
	conns    chan accepted // from all of them, and handed back
	closed   chan struct{}
	once     sync.Once
	arrivals arrivals
}

func newListener() *listener {
	return &listener{conns: make(chan accepted), closed: make(chan struct{})}
}

// accept takes the connections of one listener until that is closed.
func (l *listener) accept(from net.Listener, s *Server) {
	for {
		conn, err := from.Accept()
		if err == nil {
			conn = s.heads(conn)
		}
		if err == nil && s.lingers(conn) {
			if s.tellsAddress(conn) || s.admit(conn) {
				go s.arrive(conn)
			}
			continue
		}
		if err == nil && !s.admit(conn) {
			continue
		}
		if err == nil {
			conn = s.secure(conn)
		}
		// An error goes out once per Accept: who calls it decides how long to wait before
		// the next.
		if !l.put(conn, err) {
			return
		}
	}
}

// put gives a connection to net/http. It reports false, and closes it, once the listener is
// closed.
func (l *listener) put(conn net.Conn, err error) bool {
	select {
	case l.conns <- accepted{conn, err}:
		return true
	case <-l.closed:
		if err == nil {
			conn.Close()
		}
		return false
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.conns:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close closes all listeners, and the connections that net/http does not know of yet.
func (l *listener) Close() (err error) {
	l.once.Do(func() {
		close(l.closed)
		for _, ln := range l.all {
			if e := ln.Close(); err == nil {
				err = e
			}
		}
		l.arrivals.close()
	})
	return err
}

// Addr returns the address of the first listener.
func (l *listener) Addr() net.Addr { return l.all[0].Addr() }
