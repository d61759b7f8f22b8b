package inboxhttp_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// wire describes the path between clients and the server or servers.
type wire struct {
	name   string
	bubble bool // runs in a bubble, so its clock can be turned
	parked bool // receivers are parked before something happens to them
	redis  bool // two servers share a Redis and take requests in turn
	config config
}

var (
	memory     = wire{name: "memory", bubble: true}
	tcp        = wire{name: "TCP", parked: true, config: config{sockets: true}}
	overUnix   = wire{name: "Unix", parked: true, config: config{sockets: true, unix: true}}
	overTLS    = wire{name: "TLS", parked: true, config: config{sockets: true, tls: true}}
	twoServers = wire{name: "two servers", parked: true, redis: true, config: config{sockets: true}}
)

// overStores runs a test twice: in a bubble, over one server with inboxes in memory; and
// in real time, over two servers that share a Redis. Use it for everything that concerns
// an inbox and does not depend on the clock. Only over memory run tests of exact times,
// tests that reach no store (such as incomplete requests), and tests of memory limits.
func overStores(t *testing.T, c config, f func(s *server)) {
	t.Helper()
	overEach(t, []wire{memory, twoServers}, c, f)
}

// overTCP runs a test of connections over TCP, TLS, a Unix socket and two servers.
func overTCP(t *testing.T, c config, f func(s *server)) {
	t.Helper()
	overEach(t, []wire{tcp, overTLS, overUnix, twoServers}, c, f)
}

// overEach runs a test over each of these wires, in parallel with other tests.
func overEach(t *testing.T, wires []wire, c config, f func(s *server)) {
	t.Helper()
	t.Parallel()
	aloneOverEach(t, wires, c, f)
}

// aloneOverEach is for tests that measure the whole process.
func aloneOverEach(t *testing.T, wires []wire, c config, f func(s *server)) {
	t.Helper()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			c := c
			c.sockets, c.unix, c.tls, c.http2 = w.config.sockets, w.config.unix, w.config.tls, w.config.http2
			w.run(t, c, f)
		})
	}
}

func (w wire) run(t *testing.T, c config, f func(s *server)) {
	t.Helper()
	if w.bubble {
		inBubble(t, c, f)
		return
	}
	if w.redis && c.redis == nil {
		c.redis = redistest.Start(t)
	}
	if w.redis && c.MaxWait == 0 {
		c.MaxWait = 10 * time.Minute // so that a machine under load ends no wait
	}
	f(start(t, c))
}

func (s *server) listenUnix() net.Listener {
	ln, err := net.Listen("unix", filepath.Join(s.TempDir(), "socket"))
	if err != nil {
		s.Fatal(err)
	}
	s.url = "http://inbox.test"
	s.dial = func() (net.Conn, error) { return net.Dial("unix", ln.Addr().String()) }
	s.transport.DialContext = dialPromptly("unix", ln.Addr().String())
	return ln
}

// dialPromptly returns a dial function for clients whose requests a test abandons: the
// server's kernel knows of the end when the request returns.
func dialPromptly(network, address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return inboxtest.Prompt(c), nil
	}
}

// expire lets all inboxes without a receiver expire. In a bubble it turns the clock.
// Redis's clock cannot be turned, so there it deletes all keys, which has the same
// result.
func (s *server) expire() {
	s.Helper()
	if s.redis == nil {
		time.Sleep(s.ttl)
		return
	}
	const remove = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end return 1"
	s.redis.Must("EVAL", remove, "0", s.prefix+"*")
}

// turnClock lets time pass if that costs nothing.
func (s *server) turnClock(d time.Duration) {
	if s.bubble {
		time.Sleep(d)
	}
}

// times reduces n where every operation costs round trips.
func (s *server) times(n int) int {
	if s.redis != nil {
		return n / 5
	}
	return n
}

// settle waits until the servers have finished, including the removals at the end of
// pops, which clients do not wait for.
func (s *server) settle() {
	s.Helper()
	if s.bubble {
		synctest.Wait()
		return
	}
	inboxtest.Until(s, "all handlers have returned", func() bool { return s.inside.Load() == 0 })
}

// wantElapsed fails the test unless the time since then is want. In real time it may be
// longer.
func (s *server) wantElapsed(since time.Time, want time.Duration) {
	s.Helper()
	if took := time.Since(since); took < want || took > want && s.bubble {
		s.Errorf("it took %v, want %v", took, want)
	}
}
