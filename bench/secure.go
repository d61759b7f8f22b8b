package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// secureCommand measures the cost of waiting over TLS: over HTTP/1.1 with a connection
// per peer, and over HTTP/2 with one and with many peers per connection.
type secureCommand struct {
	Transport []string      `default:"poll,stream,socket,peerjs" enum:"poll,stream,socket,peerjs" help:"Transports on which peers wait."`
	Shake     []string      `default:"full,resumed" enum:"full,resumed" help:"Kinds of TLS handshake."`
	HTTP2     []int         `name:"http2" default:"1,50" placeholder:"N" help:"Also measure polls and streams over HTTP/2, with N per connection; 0 skips them."`
	Peers     int           `default:"5000" help:"Number of peers."`
	Settle    time.Duration `default:"30s" help:"How long to wait for memory to settle."`
}

const (
	secureGroup = "tls: cost of a waiting peer over TLS"
	maxSecure   = 10 << 10 // resident bytes per peer over HTTP/1.1
)

func (c *secureCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	for _, transport := range c.Transport {
		for _, shake := range c.Shake {
			e.say("tls: %s, %s, %s handshakes", transport, plural(c.Peers, "peer"), shake)
			if err := c.measure(e, transport, shake); err != nil {
				return fmt.Errorf("tls: %s: %w", transport, err)
			}
		}
		for _, share := range c.HTTP2 {
			if share < 1 || transport == "socket" || transport == "peerjs" {
				continue
			}
			e.say("tls: %s, %s, HTTP/2, %d per connection", transport, plural(c.Peers, "peer"), share)
			if err := c.measureHTTP2(e, transport, share); err != nil {
				return fmt.Errorf("tls: %s: %w", transport, err)
			}
		}
	}
	return nil
}

func (c *secureCommand) serve(e *env) (*process, int64, error) {
	server, err := e.serve("--tls=self-signed", "--inbox-ttl=10m", "--max-wait=10m")
	if err != nil {
		return nil, 0, err
	}
	// Open a few connections first, so that shared memory is already allocated.
	for i := range 20 {
		conn, err := server.dial(e.ctx, i, time.Minute, 1024)
		if err == nil {
			_, err = conn.must(newPeer().get("?wait=0"), 204)
			conn.Close()
		}
		if err != nil {
			server.stop()
			return nil, 0, err
		}
	}
	fresh, err := e.settle(server, collects, 20*time.Second)
	if err != nil {
		server.stop()
	}
	return server, fresh, err
}

func (c *secureCommand) measure(e *env, transport, shake string) error {
	server, fresh, err := c.serve(e)
	if err != nil {
		return err
	}
	defer server.stop()
	if shake == "resumed" {
		server.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		// Make one request, since the session ticket arrives after the handshake.
		conn, err := server.dial(e.ctx, 0, time.Minute, 1024)
		if err == nil {
			_, err = conn.must(newPeer().get("?wait=0"), 204)
			conn.Close()
		}
		if err != nil {
			return err
		}
	}
	waits := &waitingCommand{Peers: c.Peers}
	w := waits.waiting(e, server, transport)
	opening, err := w.open()
	if err != nil {
		return err
	}
	defer w.leave()
	waiting, err := e.settle(server, collects, c.Settle)
	if err != nil {
		return err
	}
	note, delivery := "", 0.0
	if transport != "peerjs" {
		if delivery, err = w.deliver(); err != nil {
			return err
		}
		after, err := e.settle(server, collects, c.Settle)
		if err != nil {
			return err
		}
		note = fmt.Sprintf("; a message to each costs %s µs; afterwards %s bytes each", plain(delivery), plain(float64(after-fresh)/float64(c.Peers)))
		e.report.count(secureGroup, "messages lost: "+transport, w.lost(), "of "+plain(float64(c.Peers)))
	}
	e.report.add(row{Group: secureGroup, What: transport + ", HTTP/1.1, " + shake + " handshake", Unit: "bytes",
		Measured: float64(waiting-fresh) / float64(c.Peers), Goal: new(float64(maxSecure)),
		Note: fmt.Sprintf("%s µs of CPU to open one, including the handshake%s", plain(opening), note)})
	e.report.count(secureGroup, "broken connections: "+transport, int(w.broken.Load()), w.why())
	return server.alive()
}

// measureHTTP2 lets peers wait over HTTP/2, several on each connection.
func (c *secureCommand) measureHTTP2(e *env, transport string, share int) error {
	server, fresh, err := c.serve(e)
	if err != nil {
		return err
	}
	defer server.stop()
	ctx, leave := context.WithCancel(e.ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer leave()
	var clients []*http.Client
	for i := range (c.Peers + share - 1) / share {
		clients = append(clients, server.client(i, 2))
	}
	var failed atomic.Pointer[error]
	var began sync.WaitGroup
	before, err := server.cpu()
	if err != nil {
		return err
	}
	for i := range c.Peers {
		client, begun := clients[i/share], new(sync.Once)
		began.Add(1)
		all.Go(func() {
			err := waitHTTP2(ctx, client, server.addr, transport, func() { begun.Do(began.Done) })
			if begun.Do(began.Done); err != nil && ctx.Err() == nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
		if i%share == 0 {
			time.Sleep(time.Millisecond) // handshakes one after the other
		}
	}
	began.Wait()
	if err := e.rest(server, 10*time.Second); err != nil {
		return err
	}
	after, err := server.cpu()
	if err != nil {
		return err
	}
	waiting, err := e.settle(server, collects, c.Settle)
	if err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	e.report.add(row{Group: secureGroup, What: fmt.Sprintf("%s, HTTP/2, %d per connection", transport, share), Unit: "bytes",
		Measured: float64(waiting-fresh) / float64(c.Peers), Note: fmt.Sprintf("%s µs of CPU to open one", plain(micros(after-before, c.Peers)))})
	return server.alive()
}

func waitHTTP2(ctx context.Context, client *http.Client, addr, transport string, begun func()) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/inbox?after=0", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", newPeer().auth)
	if transport == "stream" {
		req.Header.Set("Accept", "text/event-stream")
	} else {
		time.AfterFunc(time.Second, begun) // a waiting poll is invisible
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	begun()
	if res.ProtoMajor != 2 {
		return errors.New("the response is not HTTP/2")
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("unexpected response: %s", res.Status)
	}
	lines := bufio.NewReaderSize(res.Body, 64)
	for {
		_, err := lines.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
