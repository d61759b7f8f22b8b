package peerjs_test

import (
	"crypto/tls"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
	"inbox/peerjs"
	"inbox/redisstore"
)

// overStores runs a test in a bubble over memory, and in real time over TLS and over two
// servers that share a Redis. Tests of exact times and of memory limits run in a bubble
// only.
func overStores(t *testing.T, l inbox.Limits, c peerjs.Config, f func(s *server)) {
	t.Helper()
	t.Parallel()
	t.Run("memory", func(t *testing.T) { inBubbleWith(t, l, c, f) })
	// Hold messages for longer than any test, so that they do not expire on a busy
	// machine.
	t.Run("TLS", func(t *testing.T) { f(overTLS(t, l, c)) })
	t.Run("two servers", func(t *testing.T) { f(twoServers(t, l, c, time.Hour)) })
}

// overTLS starts a server over memory, whose sockets wait on parked TLS connections.
func overTLS(t *testing.T, l inbox.Limits, c peerjs.Config) *server {
	t.Helper()
	l.TTL = time.Hour
	c.Store = openMemory(t, l)
	certificate := inboxtest.NewCertificate(t, "test")
	s := serve(t, c, inboxtest.Loopback(t), &tls.Config{Certificates: []tls.Certificate{certificate.Pair}})
	s.handler.HoldFor(time.Hour)
	s.dial = certificate.DialTLS(s.dial)
	return s
}

// twoServers starts two servers that share a Redis and take connections in turn. They
// hold messages for the given time.
func twoServers(t *testing.T, l inbox.Limits, c peerjs.Config, hold time.Duration) *server {
	t.Helper()
	l.TTL = time.Hour
	redis := redistest.Start(t)
	var both [2]*server
	for i := range both {
		c.Store = openRedis(t, redis, l)
		both[i] = serve(t, c, inboxtest.Loopback(t), nil)
		both[i].handler.HoldFor(hold)
	}
	both[0].twin = both[1]
	return both[0]
}

func openRedis(tb testing.TB, redis *redistest.Server, l inbox.Limits) inbox.Store {
	tb.Helper()
	store, err := redisstore.Open(tb.Context(), redisstore.Config{URL: "redis://" + redis.Addr, Limits: l})
	if err != nil {
		tb.Fatal(err)
	}
	inboxtest.Run(tb, store.Run)
	inboxtest.Until(tb, "the store is ready", store.Ready)
	return store
}
