//go:build unix

package relay

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
)

// The send buffer is limited beneath TLS too.
func TestSendBufferBeneathTLS(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	served, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
	limitSendBuffer(tls.Server(served, new(tls.Config)))
	raw, err := served.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if n, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF); err != nil || n > 2*sendBuffer {
			t.Errorf("the kernel buffers %d bytes, %v", n, err)
		}
	})
}
