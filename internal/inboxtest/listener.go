// Package inboxtest contains helpers for the tests of several packages: an in-memory
// listener, certificates, WebSockets and their frames, a browser, and a ledger of messages. It
// imports none of the packages that it helps to test.
package inboxtest

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
)

// A Dial connects like [net.Dialer.DialContext].
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// Loopback listens on a free port of the loopback interface.
func Loopback(tb testing.TB) net.Listener {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return ln
}

// DialTo returns a Dial that connects to ln, whatever the address.
func DialTo(ln net.Listener) Dial {
	if in, ok := ln.(*Listener); ok {
		return in.Dial
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	}
}

// DialTLS returns a Dial that adds TLS with a server that has the certificate.
func (c Certificate) DialTLS(dial Dial) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(conn, &tls.Config{RootCAs: c.Pool, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
		return secure, secure.HandshakeContext(ctx)
	}
}

// A Listener accepts in-memory connections, so that a server can run in a bubble of
// testing/synctest. The connections are unbuffered: a write blocks until the other side
// reads it.
type Listener struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen returns a new Listener.
func Listen() *Listener {
	return &Listener{dialed: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.dialed:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements [net.Listener].
func (l *Listener) Addr() net.Addr { return address{} }

// Dial connects to the listener and ignores the address.
func (l *Listener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.dialed <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "memory" }
