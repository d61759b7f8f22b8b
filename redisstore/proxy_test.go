package redisstore

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"inbox/internal/inboxtest"
)

// A proxy forwards bytes. It can do what a network may do without breaking a connection:
// drop what a subscriber receives, and delay everything.
type proxy struct {
	addr string
	deaf atomic.Bool  // drop what the current subscribers receive
	lost atomic.Int64 // dropped bytes

	kept    atomic.Int64 // chunks being delayed
	passing sync.RWMutex // write-locked while the proxy delays everything
	isCut   bool         // owned by the test
}

// cut delays all traffic until heal.
func (p *proxy) cut() { p.passing.Lock(); p.isCut = true }

func (p *proxy) heal() {
	if p.isCut {
		p.isCut = false
		p.passing.Unlock()
	}
}

func (p *proxy) pass(to net.Conn, b []byte) {
	p.kept.Add(1)
	defer p.kept.Add(-1)
	p.passing.RLock()
	defer p.passing.RUnlock()
	_, _ = to.Write(b)
}

func startProxy(t *testing.T, to string) *proxy {
	ln := inboxtest.Loopback(t)
	p := &proxy{addr: ln.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			t.Cleanup(func() { client.Close(); server.Close() })
			var subscribes, deaf atomic.Bool
			running.Go(func() {
				defer server.Close()
				_, _ = io.Copy(writerFunc(func(b []byte) {
					if bytes.Contains(b, []byte("SSUBSCRIBE")) {
						subscribes.Store(true)
					}
					p.pass(server, b)
				}), client)
			})
			running.Go(func() {
				defer client.Close()
				_, _ = io.Copy(writerFunc(func(b []byte) {
					if subscribes.Load() && p.deaf.CompareAndSwap(true, false) || deaf.Load() {
						deaf.Store(true)
						p.lost.Add(int64(len(b)))
						return
					}
					p.pass(client, b)
				}), server)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); p.heal(); running.Wait() })
	return p
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }
