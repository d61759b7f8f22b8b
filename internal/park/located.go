package park

import (
	"net"
	"net/netip"
	"syscall"
)

// Locate returns c as a connection whose client has the address that a proxy told. It
// parks like c, and keeps that address when it is parked and handed back.
func Locate(c net.Conn, client netip.AddrPort) net.Conn {
	remote := net.TCPAddrFromAddrPort(client)
	if k, ok := c.(Kernel); ok {
		return &located{k, remote}
	}
	return &elsewhere{c, remote}
}

// Kernel is a connection that the kernel knows, with all that net/http and this package
// ask for. A wrapper that embeds one parks like it, and is gone then.
type Kernel interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

type located struct {
	Kernel
	remote *net.TCPAddr
}

// NetConn is the connection beneath.
func (c *located) NetConn() net.Conn { return c.Kernel }

// RemoteAddr returns the address that the proxy told.
func (c *located) RemoteAddr() net.Addr { return c.remote }

// elsewhere is a located connection that is not the kernel's.
type elsewhere struct {
	net.Conn
	remote *net.TCPAddr
}

// RemoteAddr returns the address that the proxy told.
func (c *elsewhere) RemoteAddr() net.Addr { return c.remote }
