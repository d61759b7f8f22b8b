package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// way is how a peer reaches a server, to send or to receive.
type way struct {
	p         *process
	transport string
	version   int // of HTTP
}

func (w way) String() string {
	wire := "plain"
	if w.p.tls != nil {
		wire = "TLS"
	}
	return fmt.Sprintf("%s, %s, HTTP/%d", w.transport, wire, w.version)
}

// client returns an HTTP client with a single connection.
func (p *process) client(i, version int) *http.Client {
	t := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: p.tls.Clone(), MaxConnsPerHost: 1}
	switch {
	case version == 1:
		t.Protocols.SetHTTP1(true)
	case p.tls != nil:
		t.TLSClientConfig.NextProtos = nil
		t.Protocols.SetHTTP2(true)
	default:
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := net.Dialer{KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: loopback(i)}}
		return d.DialContext(ctx, network, addr)
	}
	return &http.Client{Transport: t}
}

// url returns the URL of the inboxes.
func (p *process) url() string {
	if p.tls != nil {
		return "https://" + p.addr + "/inbox"
	}
	return "http://" + p.addr + "/inbox"
}

// recipient is a receiving peer and the messages it has received.
type recipient struct {
	peer
	way
	mu      sync.Mutex         // guards the fields below
	ledgers map[string]*ledger // by sender
	foreign int
	arrived map[string]chan struct{} // by PeerJS sender, which waits for room
}

// mail is a message in a poll or a stream.
type mail struct{ Cursor, From, Body string }

// label returns the start of a message's body.
func label(i int, from, to string) string { return fmt.Sprintf("%d from %s to %s ", i, from, to) }

// got records a message.
func (r *recipient) got(from string, body string) {
	var i int
	var sender, to string
	if _, err := fmt.Sscanf(body, "%d from %s to %s ", &i, &sender, &to); err != nil {
		i = -1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.ledgers[from]
	if l == nil || sender != from || to != r.id {
		r.foreign++
		return
	}
	l.got(i)
	select {
	case <-r.arrived[from]:
	default: // the sender is not waiting
	}
}

func (r *recipient) complete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.ledgers {
		if !l.complete() {
			return false
		}
	}
	return true
}

// perConnection is how many messages a recipient receives per connection.
const perConnection = 150

// receive receives until ctx ends.
func (r *recipient) receive(ctx context.Context, i int) error {
	switch r.transport {
	case "socket":
		return r.sockets(ctx, i)
	case "PeerJS":
		return r.peerJS(ctx, i)
	case "stream", "stream, pop":
		return r.streams(ctx, i)
	default:
		return r.polls(ctx, i)
	}
}

// polls uses two connections alternately, so that consecutive requests use different
// connections.
func (r *recipient) polls(ctx context.Context, i int) error {
	clients := [2]*http.Client{r.p.client(i, r.version), r.p.client(i+1, r.version)}
	cursor, wait := "0", ""
	if strings.HasPrefix(r.transport, "poll") {
		wait = "&wait=0"
	}
	for n := 0; ; n++ {
		query := "?after=" + cursor
		if strings.HasSuffix(r.transport, ", pop") {
			query = fmt.Sprint("?limit=", 1+n%20)
		}
		if n%perConnection == 0 {
			clients[n%2].CloseIdleConnections()
		}
		res, err := r.ask(ctx, clients[n%2], query+wait, "application/json")
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var batch struct{ Messages []mail }
		if res.StatusCode == 200 {
			err = json.NewDecoder(res.Body).Decode(&batch)
		}
		_, rest := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if ctx.Err() != nil {
			return nil
		}
		if err = errors.Join(err, rest); err != nil {
			return err
		}
		for _, m := range batch.Messages {
			r.got(m.From, m.Body)
			cursor = m.Cursor
		}
		if res.StatusCode == 204 && wait != "" {
			time.Sleep(time.Millisecond) // to limit the CPU load
		}
	}
}

// ask requests messages.
func (r *recipient) ask(ctx context.Context, client *http.Client, query, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.p.url()+query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", r.auth)
	req.Header.Set("Accept", accept)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.ProtoMajor != r.version || res.StatusCode != 200 && res.StatusCode != 204 {
		defer res.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		return nil, fmt.Errorf("%s %s: %s", res.Proto, res.Status, said)
	}
	return res, nil
}

// streams reads a stream and reconnects after a while, unless it pops: the server cannot
// know how much of a stream the client read before it disconnected.
func (r *recipient) streams(ctx context.Context, i int) error {
	pops := strings.HasSuffix(r.transport, ", pop")
	for query := "?after=0"; ctx.Err() == nil; {
		if pops {
			query = ""
		}
		client := r.p.client(i, r.version)
		res, err := r.ask(ctx, client, query, "text/event-stream")
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(res.Body)
		for n := 0; (pops || n < perConnection) && lines.Scan(); {
			data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
			if !ok {
				continue
			}
			var m mail
			if err := json.Unmarshal(data, &m); err != nil {
				return fmt.Errorf("%q: %w", data, err)
			}
			r.got(m.From, m.Body)
			query = "?after=" + m.Cursor
			n++
			if n%10 == 0 && !pops {
				done, err := r.ask(ctx, r.p.client(i, r.version), query+"&limit=0", "*/*")
				if ctx.Err() != nil {
					return nil
				}
				if err != nil {
					return err
				}
				done.Body.Close()
			}
		}
		res.Body.Close()
		client.CloseIdleConnections()
		if err := lines.Err(); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// sockets reads a socket and reconnects with another one after a while.
func (r *recipient) sockets(ctx context.Context, i int) error {
	for cursor := "0"; ctx.Err() == nil; {
		err := r.socket(ctx, i, func(s *socket) error {
			err := s.send(fmt.Appendf(nil, `{"type":"open","id":"%s","password":"%s","after":"%s"}`, r.id, r.password, cursor))
			for n := 0; err == nil && n < perConnection; {
				var frame []byte
				if frame, err = s.next(); err != nil {
					return err
				}
				switch kind := string(stringField(frame, "type")); kind {
				case "opened":
				case "message":
					cursor = string(stringField(frame, "cursor"))
					r.got(string(stringField(frame, "from")), string(stringField(frame, "body")))
					n++
					if n%10 == 0 {
						err = s.send(fmt.Appendf(nil, `{"type":"ack","after":"%s"}`, cursor))
					}
				default:
					return fmt.Errorf("%.200s", frame)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// peerJS reads the socket of a PeerJS client. It does not reconnect, since PeerJS has no
// acknowledgements.
func (r *recipient) peerJS(ctx context.Context, i int) error {
	conn, err := r.p.dial(ctx, i, 10*time.Minute, 8<<10)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s, err := openPeerJS(conn, r.peer)
	for err == nil {
		var frame []byte
		if frame, err = s.next(); err == nil {
			r.got(string(stringField(frame, "src")), string(stringField(frame, "body")))
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// socket calls f with a socket that is closed when ctx ends.
func (w way) socket(ctx context.Context, i int, f func(*socket) error) error {
	conn, err := w.p.dial(ctx, i, 10*time.Minute, 8<<10)
	if err == nil {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		var s *socket
		if s, err = upgrade(conn, upgradeRequest("/inbox", inboxSocket)); err == nil {
			err = f(s)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// send sends n messages to a recipient. If the inbox is full, it retries with the same
// key.
func (w way) send(ctx context.Context, i int, from peer, to *recipient, n int) error {
	switch w.transport {
	case "PeerJS":
		return w.sendPeerJS(ctx, i, from, to, n)
	case "socket":
		return w.socket(ctx, i, func(s *socket) error {
			if err := s.send(fmt.Appendf(nil, `{"type":"open","id":"%s","password":"%s"}`, from.id, from.password)); err != nil {
				return err
			}
			if _, err := s.next(); err != nil {
				return err
			}
			return inTurn(ctx, n, func(k int) (bool, error) {
				if err := s.send(fmt.Appendf(nil, `{"type":"send","to":"%s","key":"%d","body":"%s"}`, to.id, k, text(label(k, from.id, to.id), candidateSize))); err != nil {
					return false, err
				}
				said, err := s.next()
				full := string(stringField(said, "code")) == "inbox-full"
				if err == nil && !full && string(stringField(said, "type")) != "sent" {
					err = fmt.Errorf("%.200s", said)
				}
				return !full, err
			})
		})
	}
	client := w.p.client(i, w.version)
	defer client.CloseIdleConnections()
	return inTurn(ctx, n, func(k int) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.p.url()+"?to="+to.id, bytes.NewReader(text(label(k, from.id, to.id), candidateSize)))
		if err != nil {
			return false, err
		}
		req.Header.Set("Authorization", from.auth)
		req.Header.Set("Idempotency-Key", fmt.Sprint(k))
		res, err := client.Do(req)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		said, err := io.ReadAll(res.Body)
		full := bytes.Contains(said, []byte(`"inbox-full"`))
		if err == nil && !full && res.StatusCode != 200 {
			err = fmt.Errorf("%s: %.200s", res.Status, said)
		}
		return !full, err
	})
}

// inTurn calls send for 0 to n-1, and retries after a moment when it returns false.
func inTurn(ctx context.Context, n int, send func(int) (sent bool, err error)) error {
	for i := 0; i < n && ctx.Err() == nil; {
		sent, err := send(i)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if sent {
			i++
		} else {
			time.Sleep(2 * time.Millisecond) // until the recipient has received some
		}
	}
	return nil
}

// sendPeerJS keeps only a few messages in flight, since no response reports a full inbox.
func (w way) sendPeerJS(ctx context.Context, i int, from peer, to *recipient, n int) error {
	conn, err := w.p.dial(ctx, i, 10*time.Minute, 8<<10)
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := openPeerJS(conn, from)
	if err != nil {
		return err
	}
	go func() { // pings
		for _, err := s.next(); err == nil; _, err = s.next() {
		}
	}()
	arrived := to.arrived[from.id]
	for k := range n {
		select {
		case arrived <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if err := s.send(fmt.Appendf(nil, `{"type":"CANDIDATE","dst":"%s","payload":{"body":"%s"}}`, to.id, text(label(k, from.id, to.id), candidateSize))); err != nil {
			return err
		}
	}
	for range cap(arrived) { // keep the socket open until the last message has arrived
		select {
		case arrived <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
