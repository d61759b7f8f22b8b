package park

import (
	"net"
	"net/netip"
	"syscall"
)

// Locate returns c as a connection whose RemoteAddr is the client's address that a proxy
// sent. It can be parked like c, and keeps the address when it is parked and handed back.
func Locate(c net.Conn, client netip.AddrPort) net.Conn {
	remote := net.TCPAddrFromAddrPort(client)
	if k, ok := c.(Kernel); ok {
		return &located{k, remote}
	}
	return &elsewhere{c, remote}
}

// Kernel is a connection of the kernel with all methods that net/http and this package
// use. A type that embeds a Kernel can be parked; parking removes the wrapper.
type Kernel interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

type located struct {
	Kernel
	remote *net.TCPAddr
}

// NetConn returns the wrapped connection.
func (c *located) NetConn() net.Conn { return c.Kernel }

// RemoteAddr returns the address that the proxy sent.
func (c *located) RemoteAddr() net.Addr { return c.remote }

// elsewhere is a located connection that is not the kernel's.
type elsewhere struct {
	net.Conn
	remote *net.TCPAddr
}

// RemoteAddr returns the address that the proxy sent.
func (c *elsewhere) RemoteAddr() net.Addr { return c.remote }
