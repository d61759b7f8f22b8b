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

// wire is what is between clients and the server, or servers.
type wire struct {
	name   string
	bubble bool // nothing is outside, so its clock can be turned
	parked bool // receivers have waited for a while before something happens to them
	redis  bool // two servers share one, and get every other request each
	config config
}

var (
	memory     = wire{name: "memory", bubble: true}
	tcp        = wire{name: "TCP", parked: true, config: config{sockets: true}}
	overUnix   = wire{name: "Unix", parked: true, config: config{sockets: true, unix: true}}
	overTLS    = wire{name: "TLS", parked: true, config: config{sockets: true, tls: true}}
	twoServers = wire{name: "two servers", parked: true, redis: true, config: config{sockets: true}}
)

// overStores runs a test over one server with its inboxes in memory, in a bubble,
// and over two that share a Redis, in real time: whatever has to do with an inbox
// and does not turn the clock. What is left to memory alone is either of moments
// (when exactly does it expire, how long does a wait take), or it comes to no
// store (half a request line, a frame that is none), or it is a limit of memory's
// own.
func overStores(t *testing.T, c config, f func(s *server)) {
	t.Helper()
	overEach(t, []wire{memory, twoServers}, c, f)
}

// overTCP runs a test of connections over one server, with and without TLS, over a Unix
// socket, and over two.
func overTCP(t *testing.T, c config, f func(s *server)) {
	t.Helper()
	overEach(t, []wire{tcp, overTLS, overUnix, twoServers}, c, f)
}

// overEach runs a test over each of these wires, beside other tests.
func overEach(t *testing.T, wires []wire, c config, f func(s *server)) {
	t.Helper()
	t.Parallel()
	aloneOverEach(t, wires, c, f)
}

// aloneOverEach is for tests that look at the whole process.
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
		c.MaxWait = 10 * time.Minute // a machine that stands still for a while ends no wait
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
	s.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return s.dial() }
	return ln
}

// expire lets every inbox expire, whose receivers have left: with time, or, since
// that of Redis cannot be turned, by leaving there what such an inbox leaves, which
// is nothing.
func (s *server) expire() {
	s.Helper()
	if s.redis == nil {
		time.Sleep(s.ttl)
		return
	}
	const remove = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end return 1"
	s.redis.Must("EVAL", remove, "0", s.prefix+"*")
}

// turnClock lets time pass, where that costs none.
func (s *server) turnClock(d time.Duration) {
	if s.bubble {
		time.Sleep(d)
	}
}

// times is how often to do what was tried n times in memory, or fewer, where it
// costs round trips.
func (s *server) times(n int) int {
	if s.redis != nil {
		return n / 5
	}
	return n
}

// settle waits until the servers have done what there was to do: a pop, above
// all, ends with a removal, which its client may not wait for.
func (s *server) settle() {
	s.Helper()
	if s.bubble {
		synctest.Wait()
		return
	}
	inboxtest.Until(s, "nobody is inside", func() bool { return s.inside.Load() == 0 })
}

// wantElapsed fails unless it took that long, or, on a clock that cannot be
// turned, at least that.
func (s *server) wantElapsed(since time.Time, want time.Duration) {
	s.Helper()
	if took := time.Since(since); took < want || took > want && s.bubble {
		s.Errorf("it took %v, want %v", took, want)
	}
}
