package client_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"inbox"
	"inbox/client"
	"inbox/inboxhttp"
	"inbox/internal/inboxtest"
	serving "inbox/internal/server"
	"inbox/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config configures the test server.
type config struct {
	inboxhttp.Config // Store and Authenticator are set by start
	limits           inbox.Limits
	sockets          bool                            // loopback instead of memory
	wrap             func(http.Handler) http.Handler // wraps the server's handler
}

// server is a real server that can be stopped and restarted at the same URL.
type server struct {
	testing.TB
	config
	url     string
	address string // with sockets only
	pepper  *inbox.Pepper
	store   inbox.Store
	handler *inboxhttp.Handler
	srv     *serving.Server
	http    *http.Server
	serving sync.WaitGroup
	away    func() // stops the store's goroutine

	mu    sync.Mutex // guards the fields below
	ln    *listener
	conns map[net.Conn]bool
}

// inBubble runs a test in a synctest bubble.
func inBubble(t *testing.T, c config, f func(s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(start(t, c)) })
}

// both runs a test in a bubble and again over loopback.
func both(t *testing.T, c config, f func(t *testing.T, s *server)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, start(t, c)) })
	})
	t.Run("loopback", func(t *testing.T) {
		c.sockets = true
		f(t, start(t, c))
	})
}

func start(tb testing.TB, c config) *server {
	tb.Helper()
	var key [inbox.PepperSize]byte
	rand.Read(key[:])
	s := &server{TB: tb, config: c, url: "http://inbox.test/inbox", pepper: inbox.NewPepper(key), conns: make(map[net.Conn]bool)}
	s.begin(s.newStore())
	tb.Cleanup(s.stop)
	return s
}

func (s *server) newStore() *memstore.Store { return memstore.New(s.limits) }

// resume restarts the server with an existing store, as after loading a snapshot.
func (s *server) resume(store inbox.Store) {
	s.Helper()
	s.begin(store.(*memstore.Store))
}

// begin starts the server with a store.
func (s *server) begin(store *memstore.Store) {
	s.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s.serving.Go(func() { store.Run(ctx) })
	s.away = stop
	s.store = store
	c := s.Config
	s.srv = serving.New(serving.Config{MaxWait: cmp.Or(c.MaxWait, 25*time.Second), Log: slog.Default()})
	s.http = s.srv.HTTP
	c.Store, c.Authenticator, c.Lot = store, s.pepper, s.srv.Lot
	var err error
	if s.handler, err = inboxhttp.New(c); err != nil {
		s.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/inbox", s.handler)
	mux.HandleFunc("/ice", s.handler.ServeICE)
	mux.HandleFunc("/outcome", s.handler.ServeOutcome)
	mux.HandleFunc("/code", s.handler.ServeCode)
	var h http.Handler = mux
	if s.wrap != nil {
		h = s.wrap(h)
	}
	ln := net.Listener(inboxtest.Listen())
	if s.sockets {
		ln = s.listen()
	}
	serve := s.srv
	tracked := &listener{Listener: ln, s: s}
	s.mu.Lock()
	s.ln = tracked
	s.mu.Unlock()
	if s.sockets {
		err = serve.Listen(kernel{tracked, ln.(syscall.Conn)})
	} else {
		err = serve.Listen(tracked)
	}
	if err != nil {
		s.Fatal(err)
	}
	serve.Handle(h)
	s.serving.Go(func() { serve.Serve() })
}

// kernel is a listener for connections of the kernel.
type kernel struct {
	net.Listener
	syscall.Conn
}

func (s *server) listen() net.Listener {
	s.Helper()
	address := s.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		s.Fatal(err)
	}
	if s.address == "" { // no other goroutine uses it yet
		s.address = ln.Addr().String()
		s.url = "http://" + s.address + "/inbox"
	}
	return ln
}

// stop simulates a crash: it cuts every connection.
func (s *server) stop() {
	s.mu.Lock()
	running := s.ln != nil
	s.ln = nil
	s.mu.Unlock()
	if !running {
		return
	}
	s.http.Close()
	s.cut()
	s.handler.Drain()
	if err := s.srv.Wait(context.Background()); err != nil {
		s.Error(err)
	}
	s.away()
	s.serving.Wait()
}

// cut closes all connections.
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
	clear(s.conns)
}

// listener keeps track of accepted connections.
type listener struct {
	net.Listener
	s *server
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		l.s.conns[c] = true
	}
	return c, err
}

// dial connects to the server, or is refused while it is stopped.
func (s *server) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if s.sockets {
		return (&net.Dialer{}).DialContext(ctx, network, s.address)
	}
	s.mu.Lock()
	ln := s.ln
	s.mu.Unlock()
	if ln == nil {
		return nil, &net.OpError{Op: "dial", Net: "memory", Err: syscall.ECONNREFUSED}
	}
	return ln.Listener.(*inboxtest.Listener).Dial(ctx, network, address)
}

// transport returns an http.Transport that dials the server.
func (s *server) transport() *http.Transport {
	t := &http.Transport{DialContext: s.dial}
	s.Cleanup(t.CloseIdleConnections)
	return t
}

// client returns a client that disconnects at the end of the test. It fills in the zero
// fields of the configuration.
func (s *server) client(id string, config client.Config) *client.Client {
	s.Helper()
	config.ID = id
	if config.URL == "" {
		config.URL = s.url
	}
	if config.Password == "" {
		config.Password = "password of " + id
	}
	if config.HTTP == nil {
		config.HTTP = &http.Client{Transport: s.transport()}
	}
	c, err := client.New(config)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(c.Leave)
	return c
}

// open opens inboxes without attaching a receiver.
func (s *server) open(ids ...string) {
	s.Helper()
	for _, id := range ids {
		if _, err := s.store.Acknowledge(s.Context(), s.peer(id), inbox.Cursor{}, nil); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *server) peer(id string) inbox.Peer {
	return inbox.Peer{ID: id, Secret: s.pepper.Secret(id, "password of "+id)}
}

// put puts messages directly into an inbox.
func (s *server) put(from, to string, bodies ...string) {
	s.Helper()
	for _, body := range bodies {
		if _, err := s.store.Send(s.Context(), s.peer(from), to, inbox.Draft{Body: []byte(body)}); err != nil {
			s.Fatal(err)
		}
	}
}

// inside returns the bodies of the messages in an inbox.
func (s *server) inside(id string) []string {
	s.Helper()
	b, err := s.store.Look(s.Context(), s.peer(id), inbox.Cursor{}, 1000, nil)
	if err != nil {
		s.Fatal(err)
	}
	var bodies []string
	for _, m := range b.Messages {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

func (s *server) wantInside(id string, want ...string) {
	s.Helper()
	if got := s.inside(id); strings.Join(got, ",") != strings.Join(want, ",") || len(got) != len(want) {
		s.Errorf("in the inbox of %s: %q, want %q", id, got, want)
	}
}

func send(tb testing.TB, c *client.Client, to, body string) {
	tb.Helper()
	if err := c.Send(tb.Context(), to, []byte(body)); err != nil {
		tb.Fatal(err)
	}
}

// receive receives messages and checks their bodies.
func receive(tb testing.TB, c *client.Client, bodies ...string) (last inbox.Message) {
	tb.Helper()
	for _, want := range bodies {
		m, err := c.Receive(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		if string(m.Body) != want {
			tb.Fatalf("received %q, want %q", m.Body, want)
		}
		last = m
	}
	return last
}

func wantErr(tb testing.TB, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Errorf("error %v, want %v", got, want)
	}
}

// roundTrip is a function that implements http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// lossy returns an http.Client that drops responses for which lose returns true. The
// server has already handled those requests.
func (s *server) lossy(lose func(*http.Request) bool) *http.Client {
	inner := s.transport()
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := inner.RoundTrip(r)
		if err == nil && lose(r) {
			if resp.StatusCode != http.StatusSwitchingProtocols {
				io.Copy(io.Discard, resp.Body)
			}
			resp.Body.Close()
			return nil, &url.Error{Op: r.Method, URL: r.URL.String(), Err: io.ErrUnexpectedEOF}
		}
		return resp, err
	})}
}

// withTimeout returns a context that ends after d.
func withTimeout(tb testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), d)
	tb.Cleanup(cancel)
	return ctx
}
