package inboxtest

import "net"

// Prompt wraps a client's connection over TCP or a Unix socket so that the server's kernel
// knows of its end when Close returns. A plain Close only closes this process's
// descriptor. While another test starts a process, the child holds a copy of every
// descriptor until it executes its program, which takes long on a busy machine. Until then
// the connection stays open, and the server would write to a client that has left.
func Prompt(c net.Conn) net.Conn {
	halves, ok := c.(halfCloser)
	if !ok {
		return c
	}
	return &prompt{c, halves}
}

type halfCloser interface {
	CloseRead() error
	CloseWrite() error
}

type prompt struct {
	net.Conn
	halves halfCloser
}

func (p *prompt) Close() error {
	p.halves.CloseRead() // from now on, bytes from the server reset the connection
	p.halves.CloseWrite()
	return p.Conn.Close()
}
