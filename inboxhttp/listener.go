package inboxhttp

import (
	"net"
	"sync"
)

// Listener wraps the one that a server without TLS serves from. It lets
// connections over HTTP/1.1 wait at their inboxes without the goroutine and the
// buffers that net/http has for each, and hands them back to the server through
// Accept when their next request has come. Call it once, before serving, and
// Wait at the end. Without it everything works, at the price of that memory.
func (h *Handler) Listener(ln net.Listener) (net.Listener, error) {
	if err := h.lot.Start(); err != nil {
		return nil, err
	}
	h.back = &listener{Listener: ln, conns: make(chan accepted), closed: make(chan struct{})}
	go h.back.accept()
	return h.back, nil
}

type accepted struct {
	conn net.Conn
	err  error
}

type listener struct {
	net.Listener
	conns  chan accepted // from the inner listener, and handed back
	closed chan struct{}
	once   sync.Once
}

func (l *listener) accept() {
	for {
		conn, err := l.Listener.Accept()
		select {
		case l.conns <- accepted{conn, err}:
			// An error goes out once per Accept: who calls it decides how long to
			// wait before the next.
		case <-l.closed:
			if err == nil {
				conn.Close()
			}
			return
		}
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

func (l *listener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}

// handBack gives a connection to the server, as if it were new.
func (l *listener) handBack(conn net.Conn) {
	select {
	case l.conns <- accepted{conn, nil}:
	case <-l.closed:
		conn.Close()
	}
}
