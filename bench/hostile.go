package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hostileCommand measures how other clients are affected by very many connections that
// are stuck, slow or hostile.
type hostileCommand struct {
	N         int           `name:"n" default:"10000" help:"Hostile connections. Each takes a descriptor in both processes."`
	Addresses int           `default:"50" help:"Addresses from which they connect."`
	Flood     int           `default:"400" help:"Requests per second of each flooding address, which are a tenth of all; 300 are served."`
	Settle    time.Duration `default:"10s" help:"How long the hostile connections exist before measuring."`
	Round     time.Duration `default:"10s" help:"How long to measure other clients, without and with the hostile connections."`
}

// The other clients: their number, and the pause between two requests of one, which stays
// within the limits of their addresses.
const (
	otherConns = 16
	otherPause = 40 * time.Millisecond
)

func (c *hostileCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	e.say("hostile: %d connections from %d addresses", c.N, c.Addresses)
	server, err := e.serve(append([]string{"--inbox-ttl=1h", "--turn=off"}, usual...)...)
	if err != nil {
		return err
	}
	defer server.stop()
	before, err := c.others(e, server)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	var crowd sync.WaitGroup
	var open, opened atomic.Int64
	for i := range c.N {
		h := &hostile{ctx: ctx, to: server.addr, from: net.IPv4(127, 0, 1, byte(1+i%c.Addresses)), open: &open, opened: &opened, peer: newPeer()}
		h.flood = time.Second * floodConns / time.Duration(c.Flood)
		kind := i / c.Addresses
		if i%c.Addresses*10 >= c.Addresses {
			kind += floodConns // never floods
		}
		crowd.Go(func() { h.run(kind) })
		if i%50 == 49 {
			if err := e.sleep(10 * time.Millisecond); err != nil {
				return err
			}
		}
	}
	if err := e.sleep(c.Settle); err != nil {
		return err
	}
	there := open.Load()
	cpu, err := server.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	after, err := c.others(e, server)
	if err != nil {
		return err
	}
	used, err := server.cpu()
	if err != nil {
		return err
	}
	busy := 100 * (used - cpu).Seconds() / time.Since(began).Seconds()
	stop()
	crowd.Wait()
	if err := server.alive(); err != nil {
		return err
	}
	with, without := percentile(after, 99), percentile(before, 99)
	e.report.add(row{Group: "hostile: 99th percentile of other clients' requests", What: fmt.Sprintf("%d connections from %d addresses", there, c.Addresses),
		Unit: "ms", Measured: with, Against: "without them", Baseline: without, Ratio: with / without, OfRatio: true, Goal: new(2.0),
		Note: fmt.Sprintf("median %.2f ms, without them %.2f ms; %d requests of other clients; %d hostile connections opened in total; server %.0f %% busy",
			percentile(after, 50), percentile(before, 50), len(after), opened.Load(), busy)})
	return nil
}

func percentile(sorted []time.Duration, p int) float64 {
	return sorted[min(len(sorted)-1, len(sorted)*p/100)].Seconds() * 1000
}

// others measures the requests of other clients and returns the times, sorted.
func (c *hostileCommand) others(e *env, server *process) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	errs := make(chan error, otherConns)
	for i := range otherConns {
		go func() {
			errs <- func() error {
				conn, err := dial(e.ctx, server.addr, i, c.Round+30*time.Second)
				if err != nil {
					return err
				}
				defer conn.Close()
				p := newPeer()
				requests := [][]byte{p.get("?wait=0"), p.post(p.id, text("hello", 400))}
				for n, end := 0, time.Now().Add(c.Round); time.Now().Before(end); n++ {
					if err := e.sleep(otherPause); err != nil {
						return err
					}
					began := time.Now()
					a, err := conn.ask(requests[n%2])
					if err != nil || a.status/100 != 2 {
						return fmt.Errorf("another client got %d: %w", a.status, errors.Join(err))
					}
					mu.Lock()
					all = append(all, time.Since(began))
					mu.Unlock()
				}
				return nil
			}()
		}()
	}
	var err error
	for range otherConns {
		err = errors.Join(err, <-errs)
	}
	slices.Sort(all)
	return all, err
}

// floodConns is how many connections of an address make requests endlessly.
const floodConns = 5

// hostile is a client that reconnects whenever the server closes its connection.
type hostile struct {
	ctx          context.Context
	to           string
	from         net.IP
	open, opened *atomic.Int64
	flood        time.Duration // between two requests
	peer         peer
}

func (h *hostile) run(kind int) {
	for h.ctx.Err() == nil {
		d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: h.from}}
		c, err := d.DialContext(h.ctx, "tcp", h.to)
		if err == nil {
			h.open.Add(1)
			h.opened.Add(1)
			ended := context.AfterFunc(h.ctx, func() { c.Close() })
			h.talk(c, kind)
			ended()
			c.Close()
			h.open.Add(-1)
		}
		h.pause(2 * time.Second)
	}
}

func (h *hostile) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-h.ctx.Done():
	}
}

func (h *hostile) talk(c net.Conn, kind int) {
	head := "POST /inbox?to=nobody HTTP/1.1\r\nHost: x\r\nAuthorization: " + h.peer.auth + "\r\n"
	switch {
	case kind < floodConns: // requests to unknown recipients and with wrong passwords
		wrong := newPeer()
		wrong.auth = "Basic bm9ib2R5Ondyb25n"
		requests := [][]byte{h.peer.post("nobody", nil), wrong.get("?wait=0"), h.peer.get("?wait=0")}
		go io.Copy(io.Discard, c)
		for n := kind; ; n++ {
			if _, err := c.Write(requests[n%len(requests)]); err != nil || h.ctx.Err() != nil {
				return
			}
			h.pause(h.flood)
		}
	case kind%8 == 0: // a header that arrives byte by byte
		for _, b := range []byte(head + strings.Repeat("x-a: b\r\n", 100)) {
			if _, err := c.Write([]byte{b}); err != nil || h.ctx.Err() != nil {
				return
			}
			h.pause(time.Second)
		}
	case kind%8 == 1: // half a body
		io.WriteString(c, head+"Content-Length: 60000\r\n\r\n"+strings.Repeat("x", 20000))
	case kind%8 == 2: // a socket that never opens
		io.WriteString(c, upgradeRequest("/inbox", inboxSocket))
	case kind%8 == 3: // half a frame
		io.WriteString(c, upgradeRequest("/inbox", inboxSocket+"Authorization: "+h.peer.auth+"\r\n"))
		c.Write(appendFrame(nil, 1, make([]byte, 60000))[:30000])
	case kind%8 == 4: // a silent PeerJS client
		io.WriteString(c, upgradeRequest("/peerjs?key=peerjs&token=t&id="+h.peer.id, ""))
	case kind%8 == 5: // garbage
		io.WriteString(c, strings.Repeat("\x16\x03\x01garbage", 50))
	} // otherwise nothing
	io.Copy(io.Discard, c)
}
