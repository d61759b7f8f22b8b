package inboxhttp_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"inbox"
	"inbox/inboxhttp"
	"inbox/internal/inboxtest"
	"inbox/internal/limit"
	"inbox/internal/park"
	"inbox/internal/redistest"
	serving "inbox/internal/server"
	"inbox/memstore"
	"inbox/redisstore"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) { // unless the flag is set
		flag.Set("test.parallel", "4") // most tests only wait
	}
	goleak.VerifyTestMain(m)
}

// config describes the server of a test. Zero fields mean the defaults of the protocol.
type config struct {
	inboxhttp.Config // without Store and Authenticator
	limits           inbox.Limits
	open             func(testing.TB, inbox.Limits) inbox.Store // default: in memory
	pepper           *inbox.Pepper

	address *limit.Config // limits per address

	redis *redistest.Server // if set, two servers share it and take requests in turn
	first *server           // set for the second of the two servers

	sockets bool // use loopback instead of memory
	unix    bool // with sockets: use a Unix socket
	tls     bool // with sockets
	blocks  bool // with sockets: receivers wait in their handlers
	http2   bool // the client uses HTTP/2 only

	wrap func(http.Handler) http.Handler
	tune func(*http.Server)
}

// server is a real server together with a client.
type server struct {
	testing.TB
	handler   *inboxhttp.Handler
	http      *http.Server
	lot       *park.Lot
	store     *watchedStore
	pepper    *inbox.Pepper
	url       string
	roots     *x509.CertPool // with TLS
	transport *http.Transport
	client    *http.Client
	dial      func() (net.Conn, error) // over TLS if the server uses it
	parked    *atomic.Int64            // connections taken from net/http so far, including the twin's
	inside    *atomic.Int64            // requests in the handler, including the twin's
	pollPause time.Duration            // pause between two polls of a client
	bubble    bool                     // time passes only while every goroutine waits
	ttl       time.Duration
	redis     *redistest.Server // the store of the inboxes, or nil for memory
	prefix    string            // of the keys in Redis
	twin      *server           // with redis: the other server
	turn      *atomic.Int64     // decides which server gets the next request
}

// inBubble runs a test in a synctest bubble, where time passes only while every goroutine
// waits.
func inBubble(t *testing.T, c config, f func(s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Hour) }) // lets sleepers finish before the bubble ends
		s := start(t, c)
		s.bubble, s.pollPause = true, time.Second
		f(s)
	})
}

// start starts a server that stops at the end of the test.
func start(tb testing.TB, c config) *server {
	tb.Helper()
	s := &server{TB: tb, pollPause: 20 * time.Millisecond, redis: c.redis}
	switch {
	case c.first != nil:
		s.prefix = c.first.prefix
		c.open = s.openRedis
	case c.redis != nil:
		s.prefix = fmt.Sprintf("case%d:", cases.Add(1))
		c.open = s.openRedis
	case c.open == nil:
		c.open = openMemory
	}
	if c.sockets && c.limits.TTL == 0 {
		c.limits.TTL = time.Hour // so that nothing expires in real time
	}
	c.limitAddresses()
	if c.pepper == nil {
		var key [inbox.PepperSize]byte
		rand.Read(key[:])
		c.pepper = inbox.NewPepper(key)
	}
	s.store, s.pepper, s.ttl = &watchedStore{c.open(tb, c.limits), &watch{}}, c.pepper, c.limits.WithDefaults().TTL
	s.parked, s.inside, s.turn = new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)
	if c.first != nil {
		s.store.watch, s.parked, s.inside = c.first.store.watch, c.first.parked, c.first.inside
	}
	srv := s.newServer(c)
	s.http, s.lot = srv.HTTP, srv.Lot
	c.Store, c.Authenticator, c.Lot = s.store, c.pepper, srv.Lot
	var err error
	if s.handler, err = inboxhttp.New(c.Config); err != nil {
		tb.Fatal(err)
	}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.inside.Add(1)
		defer s.inside.Add(-1)
		serve := map[string]http.HandlerFunc{"/ice": s.handler.ServeICE, "/outcome": s.handler.ServeOutcome, "/code": s.handler.ServeCode}[r.URL.Path]
		if serve == nil {
			serve = s.handler.ServeHTTP
		}
		serve(w, r)
	})
	if c.wrap != nil {
		h = c.wrap(h)
	}
	if c.sockets { // a machine under load must not look like a slow client
		s.http.ReadHeaderTimeout, s.http.WriteTimeout = time.Hour, time.Hour
	}
	s.http.ErrorLog = log.New(io.Discard, "", 0)
	var running, conns sync.WaitGroup
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			conns.Add(1)
		case http.StateHijacked:
			s.parked.Add(1)
			conns.Done()
		case http.StateClosed:
			conns.Done()
		}
	}
	if c.tune != nil {
		c.tune(s.http)
	}
	ln := s.listen(c)
	if c.blocks {
		ln = struct{ net.Listener }{ln} // hides that this is a TCP listener
	}
	if err := srv.Listen(ln); err != nil {
		tb.Fatal(err)
	}
	srv.Handle(h)
	running.Go(func() { srv.Serve() })
	tb.Cleanup(func() {
		s.transport.CloseIdleConnections()
		s.handler.Drain()
		s.http.Close()
		running.Wait()
		conns.Wait()
		if err := srv.Wait(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	if c.redis != nil && c.first == nil {
		c.first = s
		s.twin = start(tb, c)
		s.client = &http.Client{Transport: s.inTurn(s.transport, s.twin.transport)}
		dial := s.dial
		s.dial = func() (net.Conn, error) {
			if s.turn.Add(1)%2 == 0 {
				return s.twin.dial()
			}
			return dial()
		}
	}
	return s
}

// inTurn returns a transport that alternates between two servers.
func (s *server) inTurn(one, two *http.Transport) http.RoundTripper { return &turns{s, one, two} }

type turns struct {
	s        *server
	one, two *http.Transport
}

func (t *turns) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.s.turn.Add(1)%2 == 0 {
		r = r.Clone(r.Context())
		r.URL.Host = strings.TrimPrefix(strings.TrimPrefix(t.s.twin.url, "http://"), "https://")
		return t.two.RoundTrip(r)
	}
	return t.one.RoundTrip(r)
}

// CloseIdleConnections implements the method that http.Client calls.
func (t *turns) CloseIdleConnections() {
	t.one.CloseIdleConnections()
	t.two.CloseIdleConnections()
}

// drain drains all servers.
func (s *server) drain() {
	s.handler.Drain()
	if s.twin != nil {
		s.twin.handler.Drain()
	}
}

func (s *server) listen(c config) net.Listener {
	s.transport = &http.Transport{Protocols: new(http.Protocols), MaxIdleConnsPerHost: 100}
	s.transport.Protocols.SetHTTP1(!c.http2)
	s.transport.Protocols.SetHTTP2(c.http2 && c.tls)
	s.transport.Protocols.SetUnencryptedHTTP2(c.http2 && !c.tls)
	s.client = &http.Client{Transport: s.transport}
	if !c.sockets {
		ln := inboxtest.Listen()
		s.url = "http://inbox.test"
		s.transport.DialContext = ln.Dial
		s.dial = func() (net.Conn, error) { return ln.Dial(s.Context(), "", "") }
		return ln
	}
	if c.unix {
		return s.listenUnix()
	}
	ln := inboxtest.Loopback(s)
	address := ln.Addr().String()
	s.url, s.transport.DialContext = "http://"+address, dialPromptly("tcp", address)
	s.dial = func() (net.Conn, error) { return net.Dial("tcp", address) }
	if c.tls {
		config := &tls.Config{RootCAs: s.roots, ServerName: "localhost"}
		s.url, s.transport.TLSClientConfig = "https://"+address, config.Clone()
		s.dial = func() (net.Conn, error) { return tls.Dial("tcp", address, config) }
	}
	return ln
}

// newServer returns the server around the handler.
func (s *server) newServer(c config) *serving.Server {
	of := serving.Config{MaxWait: cmp.Or(c.MaxWait, 25*time.Second), Log: slog.Default()}
	if c.tls {
		certificate := inboxtest.NewCertificate(s, "test")
		s.roots = certificate.Pool
		of.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.Pair}}
	}
	return serving.New(of)
}

// openRedis opens one server's store.
func (s *server) openRedis(tb testing.TB, l inbox.Limits) inbox.Store {
	tb.Helper()
	store, err := redisstore.Open(tb.Context(), redisstore.Config{URL: "redis://" + s.redis.Addr, Prefix: s.prefix, Limits: l})
	if err != nil {
		tb.Fatal(err)
	}
	inboxtest.Run(tb, store.Run)
	inboxtest.Until(tb, "the store is ready", store.Ready)
	return store
}

var cases atomic.Int64 // numbers the prefixes in Redis

func openMemory(tb testing.TB, l inbox.Limits) inbox.Store {
	store := memstore.New(l)
	inboxtest.Run(tb, store.Run)
	return store
}

// request describes a request. The default is a GET with the password that belongs to the
// id.
type request struct {
	method       string
	path         string // /inbox
	query        string
	id, password string
	auth         []string // raw Authorization headers, instead of id and password
	header       http.Header
	body         io.Reader
	host         string
	client       *http.Client // default: the server's client
}

// start sends a request without waiting for its answer.
func (s *server) start(r request) *pending {
	ctx, leave := context.WithCancel(s.Context())
	p := &pending{s: s, leave: leave, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.got, p.err = s.try(ctx, r)
	}()
	return p
}

// pending is a request in progress.
type pending struct {
	s     *server
	leave context.CancelFunc // abandons the request
	done  chan struct{}
	got   answer
	err   error
}

func (p *pending) answer() answer {
	p.s.Helper()
	defer p.leave()
	<-p.done
	if p.err != nil {
		p.s.Fatal(p.err)
	}
	return p.got
}

// do sends a request and returns its answer.
func (s *server) do(r request) answer {
	s.Helper()
	a, err := s.try(s.Context(), r)
	if err != nil {
		s.Fatal(err)
	}
	return a
}

// try is do that returns connection errors.
func (s *server) try(ctx context.Context, r request) (answer, error) {
	s.Helper()
	if r.method == "" {
		r.method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, r.method, s.url+cmp.Or(r.path, "/inbox")+r.query, r.body)
	if err != nil {
		s.Fatal(err)
	}
	maps.Copy(req.Header, r.header)
	req.Host = r.host
	switch {
	case r.auth != nil:
		req.Header["Authorization"] = r.auth
	case r.id != "":
		if r.password == "" {
			r.password = passwordOf(r.id)
		}
		req.SetBasicAuth(r.id, r.password)
	}
	if r.client == nil {
		r.client = s.client
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a, err := read(s, resp)
	if err == nil {
		s.check(r, a)
	}
	return a, err
}

func passwordOf(id string) string { return "pw:" + strings.ToUpper(id) }

// newClient returns another client with its own connections.
func (s *server) newClient() *http.Client {
	transport := s.transport.Clone()
	s.Cleanup(transport.CloseIdleConnections)
	if s.twin != nil {
		two := s.twin.transport.Clone()
		s.Cleanup(two.CloseIdleConnections)
		return &http.Client{Transport: s.inTurn(transport, two)}
	}
	return &http.Client{Transport: transport}
}

// get sends a GET for the inbox of id.
func (s *server) get(id, query string) answer {
	s.Helper()
	return s.do(request{id: id, query: query})
}

// getJSON is get with the JSON form.
func (s *server) getJSON(id, query string) answer {
	s.Helper()
	return s.do(request{id: id, query: query, header: http.Header{"Accept": {"application/json"}}})
}

// poll pops without waiting.
func (s *server) poll(id string) answer {
	s.Helper()
	return s.get(id, "?wait=0")
}

// open opens the inboxes of ids or restarts their expiry.
func (s *server) open(ids ...string) {
	s.Helper()
	for _, id := range ids {
		s.get(id, "?limit=0").want(http.StatusNoContent)
	}
}

// send sends messages and fails the test if one is refused.
func (s *server) send(from, to string, bodies ...string) {
	s.Helper()
	for _, body := range bodies {
		s.post(from, to, body).want(http.StatusOK)
	}
}

// post sends one message.
func (s *server) post(from, to, body string) answer {
	s.Helper()
	return s.do(sending(from, to, body))
}

// alive reports whether an inbox exists. It leaves a message in it.
func (s *server) alive(id string) bool {
	s.Helper()
	a := s.post("prober", id, "")
	if a.status != http.StatusOK {
		a.wantProblem("no-such-inbox")
	}
	return a.status == http.StatusOK
}

// wantLife fails the test unless the inbox expires after exactly d.
func wantLife(s *server, id string, d time.Duration) {
	s.Helper()
	time.Sleep(d - time.Nanosecond)
	if !s.alive(id) {
		s.Fatalf("the inbox expired early")
	}
	time.Sleep(time.Nanosecond)
	if s.alive(id) {
		s.Fatal("the inbox did not expire")
	}
}

func sending(from, to, body string) request {
	return request{method: http.MethodPost, id: from, query: "?to=" + escape(to), body: strings.NewReader(body)}
}

// wait starts a long poll and returns when the server knows the receiver.
func (s *server) wait(id, query string) *pending {
	s.Helper()
	before := s.store.receivers(id)
	p := s.start(request{id: id, query: query})
	s.store.untilReceivers(id, before+1, p.done)
	return p
}

// raw opens a connection.
func (s *server) raw() net.Conn {
	s.Helper()
	c, err := s.dial()
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	return c
}

// peer returns the Peer of id.
func (s *server) peer(id string) inbox.Peer {
	return inbox.Peer{ID: id, Secret: s.pepper.Secret(id, passwordOf(id))}
}

// start0 is the position before every message.
var start0 inbox.Cursor

func maxWait(d time.Duration) inboxhttp.Config { return inboxhttp.Config{MaxWait: d} }
func capacity(n int) inboxhttp.Config          { return inboxhttp.Config{MaxMessages: n} }
func limitTTL(d time.Duration) inbox.Limits    { return inbox.Limits{TTL: d} }
func origins(o ...string) inboxhttp.Config     { return inboxhttp.Config{AllowOrigins: o} }

// testPepper is for tests that create handlers directly.
var testPepper = inbox.NewPepper([inbox.PepperSize]byte{1})
