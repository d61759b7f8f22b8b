package park

import (
	"crypto/tls"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"inbox/internal/inboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long to wait before giving up a test that would hang.
const patience = 10 * time.Second

// kinds are the kinds of connections for a Lot. The watched ones wait without a
// goroutine.
var kinds = []struct {
	name    string
	watched bool
	open    func(testing.TB) (server, client net.Conn)
}{
	{"TCP", true, openTCP},
	{"Unix", true, openUnix},
	{"memory", false, openPipe},
	{"TLS", true, openSecure},
	{"other TLS", false, openTLS},
}

// eachKind runs a test with a new Lot for each kind of connection.
func eachKind(t *testing.T, f func(t *testing.T, l *Lot, open func(testing.TB) (server, client net.Conn))) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { f(t, newLot(t), k.open) })
	}
}

// eachWatched runs a test for each watched kind.
func eachWatched(t *testing.T, f func(t *testing.T, l *Lot, open func(testing.TB) (server, client net.Conn))) {
	for _, k := range kinds {
		if k.watched {
			t.Run(k.name, func(t *testing.T) {
				l := newLot(t)
				if l.poller == nil {
					t.Skip("there is no poller on this system")
				}
				f(t, l, k.open)
			})
		}
	}
}

// newLot returns a started Lot that must be empty at the end of the test.
func newLot(tb testing.TB) *Lot {
	l := NewLot(slog.Default())
	if err := l.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if n := l.spots.Len(); n > 0 {
			tb.Errorf("%d spots have not ended", n)
		}
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

func openTCP(tb testing.TB) (server, client net.Conn) {
	return connect(tb, "tcp", "127.0.0.1:0")
}

func openUnix(tb testing.TB) (server, client net.Conn) {
	return connect(tb, "unix", tb.TempDir()+"/s")
}

func openPipe(tb testing.TB) (server, client net.Conn) {
	server, client = net.Pipe()
	closeAfter(tb, server, client)
	return server, client
}

func openTLS(tb testing.TB) (server, client net.Conn) {
	return shake(tb, tls.Server)
}

func openSecure(tb testing.TB) (server, client net.Conn) {
	return shake(tb, Secure)
}

func shake(tb testing.TB, on func(net.Conn, *tls.Config) *tls.Conn) (server, client net.Conn) {
	certificate := inboxtest.NewCertificate(tb, "test")
	inner, outer := openTCP(tb)
	s := on(inner, &tls.Config{Certificates: []tls.Certificate{certificate.Pair}})
	c := tls.Client(outer, &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost"})
	shaken := make(chan error, 1)
	go func() { shaken <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		tb.Fatal(err)
	}
	if err := <-shaken; err != nil {
		tb.Fatal(err)
	}
	return s, c
}

func connect(tb testing.TB, network, address string) (server, client net.Conn) {
	tb.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	dialed := make(chan error, 1)
	go func() {
		var err error
		client, err = net.Dial(network, ln.Addr().String())
		dialed <- err
	}()
	server, err = ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	if err := <-dialed; err != nil {
		tb.Fatal(err)
	}
	closeAfter(tb, server, client)
	return server, client
}

func closeAfter(tb testing.TB, conns ...net.Conn) {
	tb.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
}

// visitor is a spot whose function executes what the test passes to on, one run at a
// time.
type visitor struct {
	testing.TB
	spot   *Spot
	came   chan Events
	do     chan func(*Spot)
	done   chan struct{}
	inside atomic.Int32
}

func parked(tb testing.TB, l *Lot, c net.Conn, run func(*Spot, Events)) *Spot {
	tb.Helper()
	s, err := l.Park(c, run)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func visit(tb testing.TB, l *Lot, c net.Conn) *visitor {
	v := &visitor{TB: tb, came: make(chan Events), do: make(chan func(*Spot)), done: make(chan struct{})}
	v.spot = parked(tb, l, c, func(_ *Spot, e Events) { v.run(e) })
	return v
}

func (v *visitor) run(e Events) {
	if v.inside.Add(1) != 1 {
		v.Error("two runs overlap")
	}
	v.came <- e
	(<-v.do)(v.spot)
	v.inside.Add(-1)
	v.done <- struct{}{}
}

// begin wakes the spot for the first time and watches for e.
func (v *visitor) begin(e Events) {
	v.Helper()
	v.spot.Wake()
	v.on(Woken, v.watch(e))
}

// watch returns a run that only keeps watching.
func (v *visitor) watch(e Events) func(*Spot) {
	return func(s *Spot) {
		if err := s.Watch(e); err != nil {
			v.Error(err)
		}
	}
}

// on waits for the next run, whose events must include want, and executes do in it.
func (v *visitor) on(want Events, do func(*Spot)) (e Events) {
	v.Helper()
	select {
	case e = <-v.came:
	case <-time.After(patience):
		v.Fatalf("%v later there was no run", patience)
	}
	v.do <- do
	<-v.done
	if e&want == 0 {
		v.Fatalf("the events are %b, want %b", e, want)
	}
	return e
}

// leave ends the spot and closes its connection.
func (v *visitor) leave() {
	v.Helper()
	v.spot.Wake()
	v.on(^Events(0), (*Spot).Close)
}

// rests waits until no run is in progress, and fails the test if another one is pending.
func (v *visitor) rests() {
	v.Helper()
	inboxtest.Until(v, "the spot rests", func() bool {
		select {
		case e := <-v.came:
			v.do <- func(*Spot) {}
			<-v.done
			v.Fatalf("a run for no reason: %b", e)
		default:
		}
		state := Events(v.spot.state.Load())
		return state&running == 0 || state&left != 0 && v.inside.Load() == 0
	})
}

// write writes a text, in a goroutine if the connection does not buffer it.
func write(tb testing.TB, c net.Conn, text string) {
	if _, ok := c.(*net.TCPConn); ok {
		if _, err := c.Write([]byte(text)); err != nil {
			tb.Error(err)
		}
		return
	}
	go c.Write([]byte(text)) // ends with the connection
}
