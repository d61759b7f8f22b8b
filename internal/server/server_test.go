package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"go.uber.org/goleak"

	"inbox/internal/clientaddr"
	"inbox/internal/inboxtest"
	"inbox/internal/limit"
	"inbox/internal/park"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A way is a way to connect to a server.
type way struct {
	secure bool
	proxy  bool // with the PROXY protocol
	unix   bool // over a Unix socket
	other  bool // the server also accepts another protocol, which no client speaks
}

var ways = []way{{}, {secure: true}, {proxy: true}, {proxy: true, secure: true}, {unix: true}, {unix: true, secure: true}, {unix: true, proxy: true}, {secure: true, other: true}}

func (w way) String() string {
	name := "TCP"
	if w.unix {
		name = "Unix"
	}
	if w.proxy {
		name += ", PROXY protocol"
	}
	if w.secure {
		name += ", TLS"
	}
	if w.other {
		name += ", another protocol"
	}
	return name
}

// service parks GET /wait/NAME until it is woken, and answers it and GET /now/NAME with
// NAME. Every request carries its client's address in a header, so that an answer on a
// wrong connection is noticed.
type service struct {
	testing.TB
	*Server
	way
	addr   net.Addr
	config *tls.Config // of clients; nil without TLS
	wrong  atomic.Int64
	parked atomic.Int64

	mu    sync.Mutex // guards spots
	spots map[*park.Spot]bool
}

func start(tb testing.TB, way way) *service {
	s := &service{TB: tb, way: way, spots: make(map[*park.Spot]bool)}
	c := Config{MaxWait: time.Minute, Log: slog.New(slog.DiscardHandler), Clients: limit.NewClients(limit.Config{Connections: 1000})}
	if way.secure {
		certificate := inboxtest.NewCertificate(tb, "test")
		c.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.Pair}}
		s.config = &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost"}
	}
	if way.proxy {
		c.Proxies = trusting(tb, "127.0.0.1", "unix")
		c.Proxies.Protocol = true
	}
	if way.other {
		c.Other = &Other{Begins: func(byte) bool { return false }}
	}
	s.Server = New(c)
	s.HTTP.ErrorLog = log.New(io.Discard, "", 0)
	// Clients use either of two listeners.
	ln := inboxtest.Loopback(tb)
	local, err := net.Listen("unix", filepath.Join(tb.TempDir(), "socket"))
	if err != nil {
		tb.Fatal(err)
	}
	s.addr = ln.Addr()
	if way.unix {
		s.addr = local.Addr()
	}
	if err := s.Listen(ln, local); err != nil {
		tb.Fatal(err)
	}
	s.Handle(http.HandlerFunc(s.serve))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(); !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() {
		s.Close()
		serving.Wait()
		s.Lot.WakeAll()
		s.wakeAll()
		if err := s.Wait(context.Background()); err != nil {
			tb.Error(err)
		}
		if n := s.wrong.Load(); n > 0 {
			tb.Errorf("%d requests did not match their connection", n)
		}
	})
	return s
}

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	if (r.TLS != nil) != (s.config != nil) || r.TLS != nil && !r.TLS.HandshakeComplete || r.RemoteAddr != r.Header.Get("My-Address") {
		s.wrong.Add(1)
	}
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	conn := park.ConnOf(r.Context())
	if r.ProtoMajor != 1 || !strings.HasPrefix(r.URL.Path, "/wait/") || !s.Lot.Lends(conn) {
		io.WriteString(w, name)
		return
	}
	conn, unread, err := park.Hijack(w)
	if err != nil {
		s.Error(err)
		return
	}
	p := &wait{s: s, name: name, unread: unread, address: r.RemoteAddr}
	spot, err := s.Lot.Park(conn, p.run)
	if err != nil {
		return
	}
	s.parked.Add(1)
	spot.Begin()
}

// wait is a parked request.
type wait struct {
	s        *service
	name     string
	address  string
	unread   []byte
	answered bool
}

func (p *wait) run(spot *park.Spot, e park.Events) {
	if (!p.s.unix || p.s.proxy) && spot.RemoteAddr().String() != p.address {
		p.s.wrong.Add(1)
	}
	switch {
	case e&park.Begun != 0:
		p.s.mu.Lock()
		p.s.spots[spot] = true
		p.s.mu.Unlock()
	case e&park.Woken != 0 && !p.answered:
		p.answered = true
		p.forget(spot)
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(p.name), p.name)
		if spot.Write([]byte(answer), time.Minute) != nil {
			spot.Close()
			return
		}
		if len(p.unread) > 0 {
			spot.HandBack(p.unread, false)
			return
		}
	}
	if !p.answered {
		if e&park.Gone != 0 {
			p.forget(spot)
			spot.Close()
			return
		}
		if spot.Watch(park.Gone) != nil {
			spot.Close()
		}
		return
	}
	buf := make([]byte, 1+rand.IntN(200))
	n, err := spot.ReadNow(buf)
	switch {
	case n > 0:
		spot.HandBack(buf[:n], false)
	case err != park.ErrNothing || spot.Watch(park.Readable) != nil:
		spot.Close()
	}
}

func (p *wait) forget(spot *park.Spot) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	delete(p.s.spots, spot)
}

func (s *service) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for spot := range s.spots {
		spot.Wake()
	}
}

// client is a connection with the client's address.
type client struct {
	net.Conn
	address string
}

func (s *service) dial() client {
	s.Helper()
	c, err := net.Dial(s.addr.Network(), s.addr.String())
	if err != nil {
		s.Fatal(err)
	}
	address := c.LocalAddr().String()
	if s.unix {
		address = "127.0.0.1:0"
	}
	if s.proxy {
		source := &net.TCPAddr{IP: net.IPv4(198, 51, 100, byte(1+rand.IntN(200))), Port: 1 + rand.IntN(1<<16-1)}
		address = source.String()
		if _, err := header(source).WriteTo(c); err != nil {
			s.Fatal(err)
		}
	}
	if s.config == nil {
		return client{c, address}
	}
	secure := tls.Client(c, s.config)
	if err := secure.Handshake(); err != nil {
		s.Fatal(err)
	}
	return client{secure, address}
}

// header returns a PROXY protocol header for a client at source.
func header(source net.Addr) *proxyproto.Header {
	return proxyproto.HeaderProxyFromAddrs(2, source, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443})
}

func trusting(tb testing.TB, networks ...string) Proxies {
	tb.Helper()
	trusted, err := clientaddr.ParseTrusted(networks)
	if err != nil {
		tb.Fatal(err)
	}
	return Proxies{Trusted: trusted}
}

func request(c client, path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\nMy-Address: " + c.address + "\r\n\r\n"
}

// Connections are parked, woken and handed back all the time. Clients send several
// requests at once or one in parts, send garbage, and leave in every way. Every answer
// must belong to its request.
func TestHandBack(t *testing.T) {
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			s := start(t, way)
			const clients, rounds = 40, 15
			done, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				for {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
						s.wakeAll()
					}
				}
			}()
			var all sync.WaitGroup
			var answers atomic.Int64
			for i := range clients {
				all.Go(func() { answers.Add(int64(s.ask(i, rounds))) })
			}
			all.Wait()
			close(done)
			<-ended
			t.Logf("%d answers, %d parked", answers.Load(), s.parked.Load())
			if answers.Load() < clients*rounds/2 || s.parked.Load() == 0 {
				t.Error("there were hardly any requests")
			}
			inboxtest.Until(t, "no connection is counted", func() bool {
				return s.open.Load() == 0 && s.Server.config.Clients.Connected() == 0
			})
		})
	}
}

// ask sends requests until it leaves, and returns the number of answers.
func (s *service) ask(i, rounds int) (answers int) {
	c := s.dial()
	defer func() { c.Close() }()
	r := bufio.NewReader(c)
	for round := range rounds {
		var names []string
		var text strings.Builder
		for range 1 + rand.IntN(3) {
			name := fmt.Sprintf("%d-%d-%d", i, round, len(names))
			names = append(names, name)
			text.WriteString(request(c, []string{"/wait/", "/now/"}[rand.IntN(2)]+name))
		}
		garbage := rand.IntN(10) == 0
		if garbage {
			text.WriteString(strings.Repeat("\x00 no request \r\n", 1+rand.IntN(100)))
		}
		for rest := text.String(); len(rest) > 0; {
			n := len(rest)
			if rand.IntN(3) == 0 {
				n = 1 + rand.IntN(n)
			}
			if _, err := io.WriteString(c, rest[:n]); err != nil && !garbage {
				s.Errorf("client %d, round %d: %v", i, round, err)
				return answers
			}
			if rest = rest[n:]; rand.IntN(3) == 0 {
				time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
			}
		}
		leaves := rand.IntN(10) == 0
		for _, name := range names {
			if leaves {
				break
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				if garbage {
					break // the server may reset the connection
				}
				s.Errorf("client %d, round %d: %v", i, round, err)
				return answers
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != name {
				s.Errorf("client %d, round %d: got %q, %v, want %q", i, round, body, err, name)
				return answers
			}
			answers++
		}
		if leaves || garbage {
			s.leave(c)
			c = s.dial()
			r = bufio.NewReader(c)
		}
	}
	return answers
}

func (s *service) leave(c client) {
	inner := c.Conn
	if secure, ok := inner.(*tls.Conn); ok {
		inner = secure.NetConn()
	}
	switch rand.IntN(4) {
	case 0:
		if tcp, ok := inner.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		inner.Close()
	case 1: // without a TLS alert
		inner.Close()
	case 2:
		inner.(park.Kernel).CloseWrite()
		time.Sleep(time.Millisecond)
		inner.Close()
	default:
		c.Close()
	}
}

// A TLS connection keeps its state when it is handed back, even if the session was
// resumed.
func TestTLSIsKept(t *testing.T) {
	s := start(t, way{secure: true})
	s.config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for _, resumed := range []bool{false, true} {
		c := s.dial()
		if did := c.Conn.(*tls.Conn).ConnectionState().DidResume; did != resumed {
			t.Errorf("resumed: %v, want %v", did, resumed)
		}
		r := bufio.NewReader(c)
		for i, path := range []string{"/wait/a", "/now/b", "/wait/c", "/wait/d", "/now/e"} {
			if _, err := io.WriteString(c, request(c, path)); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(path, "/wait/") {
				inboxtest.Until(t, "the connection is parked", func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return len(s.spots) == 1
				})
				s.wakeAll()
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != path[len(path)-1:] {
				t.Errorf("%d: %q, %v", i, body, err)
			}
		}
		c.Close()
	}
}

// Limits of any size leave at least half of the descriptors for connections.
func TestReserveOf(t *testing.T) {
	for limit, want := range map[int]int{20: 10, 64: 32, 128: 48, 1024: 64, 20_000: 256, 1 << 20: 256} {
		if got := reserveOf(limit); got != want {
			t.Errorf("with %d descriptors, %d are reserved, want %d", limit, got, want)
		}
	}
}
