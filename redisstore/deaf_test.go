package redisstore

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// proxy passes bytes on, and can keep a subscriber from hearing anything without
// breaking its connection, as a network may.
type proxy struct {
	addr string
	deaf atomic.Bool  // the subscribers of now
	lost atomic.Int64 // bytes
}

func startProxy(t *testing.T, to string) *proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
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
				_, _ = io.Copy(server, io.TeeReader(client, writerFunc(func(b []byte) {
					if bytes.Contains(b, []byte("SSUBSCRIBE")) {
						subscribes.Store(true)
					}
				})))
			})
			running.Go(func() {
				defer client.Close()
				_, _ = io.Copy(writerFunc(func(b []byte) {
					if subscribes.Load() && p.deaf.CompareAndSwap(true, false) || deaf.Load() {
						deaf.Store(true)
						p.lost.Add(int64(len(b)))
						return
					}
					_, _ = client.Write(b)
				}), server)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() })
	return p
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

// A subscription that is dead without a sign costs a wake, and some seconds.
func TestDeafSubscriptionIsNoticed(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p := startProxy(t, redis.Addr)
	waits := open(t, Config{URL: "redis://" + p.addr, Limits: inbox.Limits{TTL: time.Hour}})
	sends := open(t, Config{URL: "redis://" + redis.Addr, Limits: inbox.Limits{TTL: time.Hour}})
	woken := make(chan time.Time, 100)
	r := inbox.NewReceiverFunc(func() { woken <- time.Now() })
	if _, err := waits.Receive(t.Context(), peer("alice"), inbox.Cursor{}, 1, r); err != nil {
		t.Fatal(err)
	}
	p.deaf.Store(true)
	inboxtest.Until(t, "it hears nothing any more", func() bool { return p.lost.Load() > 0 })
	begin := time.Now()
	if _, err := sends.Send(t.Context(), peer("bob"), "alice", inbox.Draft{Body: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	took := (<-woken).Sub(begin)
	b, err := waits.Receive(t.Context(), peer("alice"), inbox.Cursor{}, 1, r)
	if err != nil || len(b.Messages) != 1 {
		t.Fatalf("got %+v, %v", b, err)
	}
	t.Logf("it took %v", took.Round(time.Millisecond))
	if took > lookAfter {
		t.Errorf("it took %v: nobody but the receiver itself noticed", took)
	}
}
