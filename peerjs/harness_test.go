package peerjs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"inbox"
	"inbox/internal/inboxtest"
	serving "inbox/internal/server"
	"inbox/memstore"
	"inbox/peerjs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a real server, in a bubble or on loopback.
type server struct {
	testing.TB
	handler *peerjs.Handler
	store   inbox.Store
	log     *bytes.Buffer
	dial    inboxtest.Dial
	client  *http.Client
	bubble  bool    // time passes only while every goroutine waits
	twin    *server // another server of the same inboxes; connections alternate
	turn    atomic.Int64
}

var pepper = inbox.NewPepper([inbox.PepperSize]byte{7})

func openMemory(tb testing.TB, l inbox.Limits) *memstore.Store {
	store := memstore.New(l)
	inboxtest.Run(tb, store.Run)
	return store
}

// inBubble runs a test in a synctest bubble, where time passes only while every goroutine
// waits.
func inBubble(t *testing.T, c peerjs.Config, f func(s *server)) {
	t.Helper()
	inBubbleWith(t, inbox.Limits{}, c, f)
}

func inBubbleWith(t *testing.T, l inbox.Limits, c peerjs.Config, f func(s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Hour) }) // lets sleepers finish before the bubble ends
		c.Store = openMemory(t, l)
		s := start(t, c)
		s.bubble = true
		f(s)
	})
}

// next returns the server for the next connection.
func (s *server) next() *server {
	if s.twin != nil && s.turn.Add(1)%2 == 0 {
		return s.twin
	}
	return s
}

// turnClock lets time pass if that costs nothing.
func (s *server) turnClock(d time.Duration) {
	if s.bubble {
		time.Sleep(d)
	}
}

// settle waits, in a bubble, until the server has finished its work. A write returns as
// soon as the server has read the bytes, so without settle the messages of two sockets
// may be handled in either order.
func (s *server) settle() {
	if s.bubble {
		synctest.Wait()
	}
}

// start starts a server that stops at the end of the test. The default store is a new one
// in memory.
func start(tb testing.TB, c peerjs.Config) *server {
	tb.Helper()
	if c.Store == nil {
		c.Store = openMemory(tb, inbox.Limits{})
	}
	return serve(tb, c, inboxtest.Listen(), nil)
}

// serve serves the connections of a listener.
func serve(tb testing.TB, c peerjs.Config, ln net.Listener, secure *tls.Config) *server {
	tb.Helper()
	srv := serving.New(serving.Config{TLS: secure, MaxWait: time.Hour, Log: slog.New(slog.DiscardHandler)})
	srv.HTTP.ReadHeaderTimeout = 0
	srv.HTTP.ErrorLog = log.New(io.Discard, "", 0)
	c.Lot = srv.Lot
	s := &server{TB: tb, store: c.Store, log: new(bytes.Buffer)}
	c.Pepper = pepper
	var mu sync.Mutex
	c.Log = slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return s.log.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if s.handler, err = peerjs.New(c); err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/peerjs", s.handler.Socket)
	mux.HandleFunc("/{key}/id", s.handler.NewID)
	mux.HandleFunc("/{key}/peers", s.handler.Peers)
	mux.HandleFunc("/{$}", s.handler.Info)
	s.dial = inboxtest.DialTo(ln)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.dial(ctx, network, address)
	}
	transport := &http.Transport{DialContext: dial}
	s.client = &http.Client{Transport: transport}
	if err := srv.Listen(ln); err != nil {
		tb.Fatal(err)
	}
	srv.Handle(addressed(mux))
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { srv.Serve() })
	running.Go(func() { s.handler.Run(ctx) })
	tb.Cleanup(func() {
		s.handler.Drain(0)
		transport.CloseIdleConnections()
		srv.Close()
		stop()
		running.Wait()
		if err := srv.Wait(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return s
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// client speaks the wire protocol of a PeerJS client.
type client struct {
	*inboxtest.Socket
	s  *server
	id string
}

// try connects with a query and returns connection errors.
func (s *server) try(query string) (*client, error) {
	s.Helper()
	socket, err := inboxtest.DialSocket(s, ws.Dialer{NetDial: s.next().dial}, "ws://inbox.test/peerjs?"+query)
	if err != nil {
		return nil, err
	}
	go socket.Read()
	return &client{Socket: socket, s: s}, nil
}

// dialQuery connects with a query. The handshake must succeed.
func (s *server) dialQuery(query string) *client {
	s.Helper()
	c, err := s.try(query)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// knock connects like a client and does not wait for OPEN.
func (s *server) knock(id, token string) *client {
	s.Helper()
	c := s.dialQuery("key=peerjs&id=" + url.QueryEscape(id) + "&token=" + url.QueryEscape(token) + "&version=1.5.5")
	c.id = id
	return c
}

// open connects and waits for OPEN. The token is derived from the id.
func (s *server) open(id string) *client {
	s.Helper()
	c := s.knock(id, "token of "+id)
	c.Want(`{"type":"OPEN"}`)
	return c
}

// message returns the frame of an OFFER, ANSWER or CANDIDATE.
func message(kind, dst, payload string) string {
	return fmt.Sprintf(`{"type":%q,"dst":%q,"payload":%s}`, kind, dst, payload)
}

func (c *client) offer(dst, payload string) { c.Say(message("OFFER", dst, payload)) }

// wantFrom is Want for a message from src to this client.
func (c *client) wantFrom(src, kind, payload string) {
	c.Helper()
	c.Want(fmt.Sprintf(`{"type":%q,"src":%q,"dst":%q,"payload":%s}`, kind, src, c.id, payload))
}

// wantExpire is Want for an EXPIRE from dst.
func (c *client) wantExpire(dst string) {
	c.Helper()
	c.Want(fmt.Sprintf(`{"type":"EXPIRE","src":%q,"dst":%q}`, dst, c.id))
}

// handled returns when the server has handled everything that this client has sent:
// messages of one socket are handled in order.
func (c *client) handled() {
	c.Helper()
	c.offer(c.id, `"handled"`)
	c.wantFrom(c.id, "OFFER", `"handled"`)
}

// silent fails the test if a frame arrives or the socket ends within d. In real time it
// waits only for a moment.
func (c *client) silent(d time.Duration) {
	c.Helper()
	if !c.s.bubble {
		d = min(d, 50*time.Millisecond)
	}
	select {
	case f, ok := <-c.Frames:
		c.Fatalf("got %q (%v, close code %d), want silence", f, ok, c.Code.Load())
	case <-time.After(d):
	}
}

// leave closes the socket like a browser whose page ends, and waits until the server has
// noticed.
func (c *client) leave() {
	c.Helper()
	c.Write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
	c.WantClosed(int(ws.StatusNormalClosure))
}

// untilOpen retries until the id is free and then returns its client.
func (s *server) untilOpen(id, token string) (c *client) {
	s.Helper()
	inboxtest.Until(s, "the id is free", func() bool {
		c = s.knock(id, token)
		if c.Hear() == taken {
			c.WantClosed(4400)
			return false
		}
		return true
	})
	return c
}

// untilPeers waits until every server lists these peers.
func (s *server) untilPeers(want string) {
	s.Helper()
	for range 2 {
		inboxtest.Until(s, "the list is "+want, func() bool {
			_, body, _ := s.get("/peerjs/peers")
			return body == want
		})
	}
}

// drain drains all servers.
func (s *server) drain(over time.Duration) {
	s.handler.Drain(over)
	if s.twin != nil {
		s.twin.handler.Drain(over)
	}
}

// get sends a GET.
func (s *server) get(path string, header ...string) (status int, body string, h http.Header) {
	s.Helper()
	return s.ask(http.MethodGet, path, header...)
}

func (s *server) ask(method, path string, header ...string) (status int, body string, h http.Header) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, "http://inbox.test"+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.next().client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	if _, err := io.Copy(&b, res.Body); err != nil {
		s.Fatal(err)
	}
	return res.StatusCode, b.String(), res.Header
}

// elapsed returns how long f takes.
func elapsed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// wantElapsed fails the test unless d is within the bounds. In real time, the upper bound
// does not apply.
func (s *server) wantElapsed(d, least, most time.Duration) {
	s.Helper()
	if d < least || d > most && s.bubble {
		s.Errorf("after %v, want %v to %v", d, least, most)
	}
}
