package topichttp_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/limit"
	"inbox/internal/redislink"
	"inbox/internal/redistest"
	serving "inbox/internal/server"
	"inbox/memtopics"
	"inbox/redistopics"
	"inbox/topichttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a real server, in a synctest bubble or over loopback.
type server struct {
	testing.TB
	handler *topichttp.Handler
	topics  inbox.Topics
	dial    inboxtest.Dial
	client  *http.Client
}

// inBubble runs a test in a synctest bubble.
func inBubble(t *testing.T, c topichttp.Config, f func(s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(start(t, c, inboxtest.Listen())) })
}

// limitedBubble is inBubble with limits per address, which use the bubble's clock.
func limitedBubble(t *testing.T, limits limit.Config, c topichttp.Config, f func(s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c.Clients = limit.NewClients(limits)
		f(start(t, c, inboxtest.Listen()))
	})
}

// overLoopback starts a server whose sockets wait on parked connections.
func overLoopback(tb testing.TB, c topichttp.Config) *server {
	tb.Helper()
	return start(tb, c, inboxtest.Loopback(tb))
}

// overTLS is overLoopback over TLS.
func overTLS(tb testing.TB, c topichttp.Config) *server {
	tb.Helper()
	certificate := inboxtest.NewCertificate(tb, "test")
	s := startWith(tb, c, inboxtest.Loopback(tb), &tls.Config{Certificates: []tls.Certificate{certificate.Pair}})
	s.dial = certificate.DialTLS(s.dial)
	return s
}

// start starts a server, which ends with the test. Without Topics it gets new ones.
func start(tb testing.TB, c topichttp.Config, ln net.Listener) *server {
	tb.Helper()
	return startWith(tb, c, ln, nil)
}

func startWith(tb testing.TB, c topichttp.Config, ln net.Listener, secure *tls.Config) *server {
	tb.Helper()
	if c.Topics == nil {
		c.Topics = memtopics.New(inbox.TopicLimits{})
	}
	srv := serving.New(serving.Config{TLS: secure, MaxWait: time.Hour, Log: slog.New(slog.DiscardHandler)})
	srv.HTTP.ReadHeaderTimeout = 0
	srv.HTTP.ErrorLog = log.New(io.Discard, "", 0)
	c.Lot = srv.Lot
	s := &server{TB: tb, topics: c.Topics}
	var err error
	if s.handler, err = topichttp.New(c); err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/yjs", s.handler.YWebRTC)
	mux.HandleFunc("/yjs/", s.handler.YWebRTC)
	mux.HandleFunc("/trystero", s.handler.Trystero)
	mux.HandleFunc("/announce", s.handler.Tracker)
	s.dial = inboxtest.DialTo(ln)
	transport := &http.Transport{DialContext: s.dial}
	s.client = &http.Client{Transport: transport}
	if err := srv.Listen(ln); err != nil {
		tb.Fatal(err)
	}
	// Tests choose the addresses of their clients.
	srv.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("X-Test-Address"); a != "" {
			r.RemoteAddr = net.JoinHostPort(a, "1")
		}
		mux.ServeHTTP(w, r)
	}))
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { srv.Serve() })
	running.Go(func() { c.Topics.Run(ctx) })
	tb.Cleanup(func() {
		s.handler.Drain(0)
		transport.CloseIdleConnections()
		srv.Close()
		if err := srv.Wait(context.Background()); err != nil {
			tb.Error(err)
		}
		stop()
		running.Wait()
	})
	return s
}

// twoServers starts two servers that share one Redis.
func twoServers(t *testing.T, c topichttp.Config) (both [2]*server) {
	t.Helper()
	redis := redistest.Start(t)
	for i := range both {
		link, err := redislink.Open(t.Context(), redislink.Config{URL: redis.URL()})
		if err != nil {
			t.Fatal(err)
		}
		inboxtest.Run(t, func(ctx context.Context) { link.Run(ctx, func(string) {}, func(int) {}) })
		c.Topics = redistopics.New(redistopics.Config{Link: link})
		both[i] = overLoopback(t, c)
	}
	return both
}

// client is the connection of one client.
type client struct{ *inboxtest.Socket }

// try connects to a path, from the given address if it is not empty.
func (s *server) try(path, address string) (*client, error) {
	s.Helper()
	dialer := ws.Dialer{NetDial: s.dial, Header: ws.HandshakeHeaderHTTP{"X-Test-Address": {address}}}
	socket, err := inboxtest.DialSocket(s, dialer, "ws://inbox.test"+path)
	if err != nil {
		return nil, err
	}
	return &client{socket}, nil
}

// connect connects and starts to read.
func (s *server) connect(path string) *client {
	s.Helper()
	c, err := s.try(path, "")
	if err != nil {
		s.Fatal(err)
	}
	go c.Read()
	return c
}

// silent fails if a frame arrives before the answer to a ping of y-webrtc.
func (c *client) silent() {
	c.Helper()
	c.Say(`{"type":"ping"}`)
	c.Want(`{"type":"pong"}`)
}

// get sends an HTTP request.
func (s *server) get(method, path string, header ...string) (status int, text string, h http.Header) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, "http://inbox.test"+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}
