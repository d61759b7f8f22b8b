package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// fewDescriptors starts the program with a low limit on file descriptors.
func fewDescriptors(t *testing.T, limit int, flags ...string) (*exec.Cmd, *running) {
	t.Helper()
	script := fmt.Sprintf(`ulimit -n %d && exec inbox "$@"`, limit)
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", "serve", "--listen=127.0.0.1:0", "--turn-listen=127.0.0.1:0", "--limits=off"}, flags...)...)
	return cmd, started(t, cmd)
}

// When more clients connect than there are descriptors, existing connections are
// unaffected: while they wait, are parked and resumed, on sockets, and while Redis is
// dialed again. The others are served once descriptors are free. The snapshot is still
// written.
func TestOutOfDescriptors(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		snapshot := filepath.Join(t.TempDir(), "snapshot")
		cmd, r := fewDescriptors(t, 256, "--drain=1s", "--snapshot="+snapshot)
		c := crowd{T: t, r: r, flood: 500, rounds: 200}
		c.run()
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("exited with %v:\n%s", err, r.log)
		}
		if _, err := os.Stat(snapshot); err != nil {
			t.Error(err)
		}
	})
	t.Run("TLS", func(t *testing.T) {
		certificate := inboxtest.NewCertificate(t, "test")
		cert, key := certificate.Files(t)
		_, r := fewDescriptors(t, 256, "--tls=files", "--tls-cert="+cert, "--tls-key="+key)
		c := crowd{T: t, r: r, roots: certificate.Pool, flood: 300, rounds: 100}
		c.run()
	})
	t.Run("Redis", func(t *testing.T) {
		redis := redistest.Start(t)
		_, r := fewDescriptors(t, 256, ofRedis(t, redis.URL())...)
		c := crowd{T: t, r: r, flood: 500, rounds: 50}
		c.meanwhile = func() { // makes the server dial Redis again
			redis.Must("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			redis.Must("CLIENT", "KILL", "TYPE", "pubsub")
		}
		c.run()
	})
}

// crowd is a set of peers that exchange messages while a flood of other clients takes all
// descriptors.
type crowd struct {
	*testing.T
	r         *running
	roots     *x509.CertPool // not nil: over TLS
	flood     int
	rounds    int // per pair
	meanwhile func()
	broken    atomic.Int64
}

const (
	pairs   = 10
	patient = 40                     // pairs in which one peer waits long enough to be parked
	parked  = 300 * time.Millisecond // how long that takes
)

func (c *crowd) run() {
	ctx, stop := context.WithTimeout(c.Context(), 4*time.Minute)
	defer stop()
	var polls [pairs + patient][2]*http.Client
	for i := range polls {
		for k := range polls[i] {
			polls[i][k] = c.client()
			c.ask(ctx, polls[i][k], http.MethodGet, "?wait=0", fmt.Sprintf("poll-%d-%d", i, k), "")
		}
	}
	var sockets [pairs]*websocket.Conn
	for i := range sockets {
		sockets[i] = c.socket(ctx, fmt.Sprintf("socket-%d", i))
	}
	flooding, recede := context.WithCancel(ctx)
	var others sync.WaitGroup
	for i := range c.flood {
		others.Go(func() { c.wait(flooding, fmt.Sprintf("flood-%d", i)) })
	}
	c.r.log.await(c.T, "out of file descriptors")
	begun := time.Now()

	var talking sync.WaitGroup
	for i := range polls {
		talking.Go(func() { c.poll(ctx, polls[i], i) })
	}
	for i := range sockets {
		talking.Go(func() { c.echo(ctx, sockets[i], fmt.Sprintf("socket-%d", i)) })
	}
	if c.meanwhile != nil {
		c.meanwhile()
	}
	talking.Wait()
	if n := c.broken.Load(); n > 0 {
		c.Errorf("%d round trips or connections failed:\n%s", n, c.r.log)
	}
	if n, most := strings.Count(c.r.log.String(), "out of file descriptors"), int(time.Since(begun).Seconds())+3; n > most {
		c.Errorf("%d warnings in %v", n, time.Since(begun))
	}
	recede()
	others.Wait()
	c.ask(ctx, c.client(), http.MethodGet, "?wait=0", "latecomer", "")
}

// client returns an HTTP client that may connect only once.
func (c *crowd) client() *http.Client {
	var dials atomic.Int64
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.roots}, MaxConnsPerHost: 1, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			c.broken.Add(1)
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	c.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

func (c *crowd) ask(ctx context.Context, client *http.Client, method, query, id, body string) string {
	req, err := http.NewRequestWithContext(ctx, method, c.r.url+"/inbox"+query, strings.NewReader(body))
	if err != nil {
		c.Error(err)
		return ""
	}
	req.SetBasicAuth(id, "password")
	res, err := client.Do(req)
	if err != nil {
		c.broken.Add(1)
		c.Error(err)
		return ""
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode/100 != 2 {
		c.broken.Add(1)
		c.Errorf("%s %s: %s %s %v", method, query, res.Status, content, err)
	}
	return string(content)
}

// poll makes one peer of a pair wait for a message from the other.
func (c *crowd) poll(ctx context.Context, pair [2]*http.Client, i int) {
	from, to := fmt.Sprintf("poll-%d-0", i), fmt.Sprintf("poll-%d-1", i)
	rounds, pause := c.rounds, time.Duration(0)
	if i >= pairs {
		rounds, pause = rounds/10, parked
	}
	for round := range rounds {
		want := fmt.Sprintf("%d for %s", round, to)
		got := make(chan string, 1)
		go func() { got <- c.ask(ctx, pair[1], http.MethodGet, "", to, "") }()
		time.Sleep(pause)
		c.ask(ctx, pair[0], http.MethodPost, "?to="+to, from, want)
		if body := <-got; body != want {
			c.broken.Add(1)
			c.Errorf("got %q, want %q", body, want)
			return
		}
	}
}

func (c *crowd) socket(ctx context.Context, id string) *websocket.Conn {
	ws, _, err := websocket.Dial(ctx, c.r.url+"/inbox", &websocket.DialOptions{
		Subprotocols: []string{"inbox.v1"},
		HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.roots}}},
		HTTPHeader:   http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(id+":password"))}},
	})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { ws.CloseNow() })
	if _, _, err := ws.Read(ctx); err != nil { // the opened frame
		c.Fatal(err)
	}
	return ws
}

// echo sends messages from a socket to itself.
func (c *crowd) echo(ctx context.Context, ws *websocket.Conn, id string) {
	for round := range c.rounds {
		body := fmt.Sprintf("%d for %s", round, id)
		err := ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"send","to":%q,"body":%q}`, id, body))
		for sent, came := false, false; err == nil && !(sent && came); {
			var text []byte
			_, text, err = ws.Read(ctx)
			sent = sent || strings.Contains(string(text), `"sent"`)
			came = came || strings.Contains(string(text), body)
			if strings.Contains(string(text), `"cursor"`) {
				_, after, _ := strings.Cut(string(text), `"cursor":"`)
				after, _, _ = strings.Cut(after, `"`)
				err = errors.Join(err, ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"ack","after":%q}`, after)))
			}
		}
		if err != nil {
			c.broken.Add(1)
			c.Errorf("%s, round %d: %v", id, round, err)
			return
		}
	}
}

// wait connects and waits at an inbox repeatedly, so that its connection is parked and
// resumed all the time.
func (c *crowd) wait(ctx context.Context, id string) {
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.roots}}
	defer t.CloseIdleConnections()
	client := &http.Client{Transport: t}
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.r.url+"/inbox?wait=20&x="+id, nil)
		if err != nil {
			c.Error(err)
			return
		}
		req.SetBasicAuth(id, "password")
		if res, err := client.Do(req); err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}
}
