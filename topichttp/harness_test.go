package topichttp_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
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
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
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
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return start(tb, c, ln)
}

// overTLS is overLoopback over TLS.
func overTLS(tb testing.TB, c topichttp.Config) *server {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	certificate := inboxtest.NewCertificate(tb, "test")
	s := startWith(tb, c, ln, &tls.Config{Certificates: []tls.Certificate{certificate.Pair}})
	dial := s.dial
	s.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(conn, &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
		return secure, secure.HandshakeContext(ctx)
	}
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
	s.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if in, ok := ln.(*inboxtest.Listener); ok {
			return in.Dial(ctx, "", "")
		}
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	}
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
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { link.Run(ctx, func(string) {}, func(int) {}) })
		t.Cleanup(func() { stop(); running.Wait() })
		c.Topics = redistopics.New(redistopics.Config{Link: link})
		both[i] = overLoopback(t, c)
	}
	return both
}

// client is the connection of one client.
type client struct {
	testing.TB
	conn   net.Conn
	frames chan string // frames from the server; closed when the connection ends
	code   atomic.Int64
}

// try connects to a path, from the given address if it is not empty.
func (s *server) try(path, address string) (*client, error) {
	s.Helper()
	dialer := ws.Dialer{NetDial: s.dial, Header: ws.HandshakeHeaderHTTP{"X-Test-Address": {address}}}
	conn, early, _, err := dialer.Dial(s.Context(), "ws://inbox.test"+path)
	if err != nil {
		return nil, err
	}
	s.Cleanup(func() { conn.Close() })
	c := &client{TB: s.TB, conn: conn, frames: make(chan string, 1<<14)}
	if early != nil {
		s.Fatal("the server sent data before the client did")
	}
	return c, nil
}

// connect connects and starts to read.
func (s *server) connect(path string) *client {
	s.Helper()
	c, err := s.try(path, "")
	if err != nil {
		s.Fatal(err)
	}
	go c.read()
	return c
}

func (c *client) read() {
	defer close(c.frames)
	for {
		op, payload, err := inboxtest.ReadFrame(c.conn)
		if err != nil {
			return
		}
		switch op {
		case ws.OpText:
			c.frames <- string(payload)
		case ws.OpPing:
			go c.write(ws.NewPongFrame(payload)) // in the background: the server may be writing too
		case ws.OpClose:
			code, _ := ws.ParseCloseFrameData(payload)
			c.code.Store(int64(code))
			return
		}
	}
}

func (c *client) write(f ws.Frame) {
	c.conn.SetWriteDeadline(time.Now().Add(time.Minute))
	b, err := ws.CompileFrame(ws.MaskFrame(f))
	if err != nil {
		panic(err)
	}
	c.conn.Write(b) // a lost write shows as a missing answer
}

func (c *client) say(frame string) { c.write(ws.NewTextFrame([]byte(frame))) }

const patience = time.Minute

// hear returns the next frame.
func (c *client) hear() string {
	c.Helper()
	select {
	case f, ok := <-c.frames:
		if !ok {
			c.Fatalf("the socket was closed with %d", c.code.Load())
		}
		return f
	case <-time.After(patience):
		c.Fatalf("no frame arrived in %v", patience)
		return ""
	}
}

// want fails unless the next frame is this JSON, in any order of members.
func (c *client) want(frame string) {
	c.Helper()
	var got, want any
	text := c.hear()
	if json.Unmarshal([]byte(text), &got) != nil || json.Unmarshal([]byte(frame), &want) != nil || !reflect.DeepEqual(got, want) {
		c.Fatalf("got %.300s, want %.300s", text, frame)
	}
}

// wantClosed fails unless the server closes the connection with code.
func (c *client) wantClosed(code int) {
	c.Helper()
	select {
	case f, ok := <-c.frames:
		if ok {
			c.Fatalf("got %.300q, want the end of the connection", f)
		}
		if got := int(c.code.Load()); got != code {
			c.Fatalf("closed with %d, want %d", got, code)
		}
	case <-time.After(patience):
		c.Fatalf("not closed in %v", patience)
	}
}

// silent fails if a frame arrives before the answer to a ping of y-webrtc.
func (c *client) silent() {
	c.Helper()
	c.say(`{"type":"ping"}`)
	c.want(`{"type":"pong"}`)
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
