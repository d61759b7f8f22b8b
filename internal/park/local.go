package park

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// RememberReset returns a connection over a Unix socket whose state stays [Reset] once
// the client has reset it. The kernel reports that only once: after a read has returned
// the error, the connection looks like one that was closed in order, and net/http reads
// while a handler runs. RememberReset returns other connections as they are.
func RememberReset(c net.Conn) net.Conn {
	if local, ok := c.(*net.UnixConn); ok {
		return &remembering{Kernel: local}
	}
	return c
}

type remembering struct {
	Kernel
	mu    sync.Mutex // guards reset, and a read until its error is recorded
	reset bool
}

// NetConn returns the wrapped connection.
func (c *remembering) NetConn() net.Conn { return c.Kernel }

func (c *remembering) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.Kernel.Read(p)
	c.reset = c.reset || errors.Is(err, syscall.ECONNRESET)
	return n, err
}

// wasReset reports whether a read of c has failed with a reset. Call it only for a closed
// connection, where no read blocks.
func wasReset(c net.Conn) bool {
	for c != nil {
		if r, ok := c.(*remembering); ok {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.reset
		}
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return false
		}
		c = outer.NetConn()
	}
	return false
}
