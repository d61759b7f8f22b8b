package server

import (
	"net"
	"sync"
)

type accepted struct {
	conn net.Conn
	err  error
}

// listener is the listener that net/http uses. It merges the new connections of several
// listeners with the connections that are handed back.
type listener struct {
	all      []net.Listener
	conns    chan accepted // new ones and those handed back
	closed   chan struct{}
	once     sync.Once
	arrivals arrivals
}

func newListener() *listener {
	return &listener{conns: make(chan accepted), closed: make(chan struct{})}
}

// accept accepts connections from one listener until it is closed.
func (l *listener) accept(from net.Listener, s *Server) {
	for {
		conn, err := from.Accept()
		if err == nil {
			conn = s.trackHeaders(conn)
		}
		if err == nil && s.readsFirst(conn) {
			if s.usesProxyProtocol(conn) || s.admit(conn) {
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
		// Pass on one error per Accept: the caller decides how long to pause.
		if !l.put(conn, err) {
			return
		}
	}
}

// put passes a connection to net/http. If the listener is closed, it closes the
// connection and returns false.
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

// Close closes all listeners, and the connections that net/http does not know yet.
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
