package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// stuckCommand makes very many clients stop in the middle, either of a request or of a
// response that they do not read. It measures how much memory each makes the server use.
type stuckCommand struct {
	Kind  string        `placeholder:"TEXT" help:"Only run the kinds whose name contains this."`
	N     int           `name:"n" default:"400" help:"Clients of each kind. Each takes a descriptor in both processes."`
	Quiet time.Duration `default:"6s" help:"How long the server may settle before the clients connect."`
	Stuck time.Duration `default:"4s" help:"How long to measure. Most clients are cut off after 10 s."`
}

const stuckGroup = "stuck: resident memory that a client makes the server use"

// maxStuck is the goal: how much memory one client may use, in bytes.
const maxStuck = 64 << 10

// stuckBody is the size of the unread message, in bytes. Escaped in JSON it is six times
// as long.
const stuckBody = 64 << 10

// stuckKind is a way to stop.
type stuckKind struct {
	name    string
	tls     bool
	inboxes bool // each client has an inbox with the message
	streams int  // per HTTP/2 connection; 0: HTTP/1.1
	atOnce  bool // all clients start concurrently
	begin   func(s *stuck, i int) error
}

func (c *stuckCommand) kinds() []stuckKind {
	const json, events = "Accept: application/json", "Accept: text/event-stream"
	get := func(query string, headers ...string) func(s *stuck, i int) error {
		return func(s *stuck, i int) error { return s.write(i, s.peers[i].get(query, headers...)) }
	}
	h2 := func(query, accept string) func(s *stuck, i int) error {
		return func(s *stuck, i int) error { return s.stream(i, "GET", query, accept, nil) }
	}
	body := bytes.Repeat([]byte{'x'}, stuckBody)
	half := func(head string, body []byte) func(s *stuck, i int) error {
		return func(s *stuck, i int) error {
			return s.write(i, append(fmt.Appendf(nil, "POST /inbox?to=nobody HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\n%s\r\n\r\n", s.peers[i].auth, head), body...))
		}
	}
	length := fmt.Sprintf("Content-Length: %d", stuckBody)
	chunk := append(fmt.Appendf(nil, "%x\r\n", stuckBody), body[:stuckBody-1]...)
	frame := appendFrame(nil, ws.OpText, bytes.Repeat([]byte{'x'}, 2*stuckBody))
	parts := append([]byte(nil), frame[:len(frame)-10]...)
	parts[0] &^= 0x80 // not the last fragment
	small := bytes.Repeat(fragment(500), 2*stuckBody/500-1)
	small[0] |= 1 // starts a text, which the others continue
	theirs := appendFrame(nil, ws.OpText, bytes.Repeat([]byte{'x'}, 256<<10))
	lines := strings.Repeat("a:b\r\n", 3000)
	var names strings.Builder
	for i := range 2000 {
		names.WriteString(fmt.Sprintf("a%03x:\r\n", i))
	}
	header := func(text string) func(s *stuck, i int) error {
		return func(s *stuck, i int) error { return s.write(i, []byte("GET /inbox HTTP/1.1\r\nHost: x\r\n"+text)) }
	}
	return []stuckKind{
		{name: "HTTP/1.1, poll as JSON", inboxes: true, begin: get("?wait=0&after=0", json)},
		{name: "HTTP/1.1, poll as JSON, TLS", tls: true, inboxes: true, begin: get("?wait=0&after=0", json)},
		{name: "HTTP/1.1, raw poll", inboxes: true, begin: get("?wait=0&after=0")},
		{name: "HTTP/1.1, pop of JSON", inboxes: true, begin: get("?wait=0", json)},
		{name: "HTTP/1.1, long poll as JSON", begin: (*stuck).longPoll},
		{name: "HTTP/1.1, stream", inboxes: true, begin: get("?after=0", events)},
		{name: "HTTP/1.1, stream, TLS", tls: true, inboxes: true, begin: get("?after=0", events)},
		{name: "HTTP/2, window 0, poll as JSON", inboxes: true, streams: 32, begin: h2("?wait=0&after=0", "application/json")},
		{name: "HTTP/2, window 0, poll as JSON, TLS", tls: true, inboxes: true, streams: 32, begin: h2("?wait=0&after=0", "application/json")},
		{name: "HTTP/2, window 0, raw poll", inboxes: true, streams: 32, begin: h2("?wait=0&after=0", "*/*")},
		{name: "HTTP/2, window 0, stream", inboxes: true, streams: 32, begin: h2("?after=0", "text/event-stream")},
		{name: "HTTP/1.1, unfinished body", atOnce: true, begin: half(length, body[:stuckBody-1])},
		{name: "HTTP/1.1, unfinished body, TLS", atOnce: true, tls: true, begin: half(length, body[:stuckBody-1])},
		{name: "HTTP/1.1, half a body", atOnce: true, begin: half(length, body[:stuckBody/2])},
		{name: "HTTP/1.1, unfinished chunk", atOnce: true, begin: half("Transfer-Encoding: chunked", chunk)},
		{name: "HTTP/1.1, half a chunk", atOnce: true, begin: half("Transfer-Encoding: chunked", chunk[:stuckBody/2])},
		{name: "HTTP/2, unfinished body", streams: 1, begin: func(s *stuck, i int) error {
			return s.stream(i, "POST", "?to=nobody", "*/*", body[:stuckBody-1])
		}},
		{name: "HTTP/2, half a body", streams: 1, begin: func(s *stuck, i int) error {
			return s.stream(i, "POST", "?to=nobody", "*/*", body[:stuckBody/2])
		}},
		{name: "HTTP/2, announced frame", streams: 1, begin: func(s *stuck, i int) error {
			// The largest frame allowed, on a stream that is not open.
			return s.write(i, []byte{0x0f, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 'x'})
		}},
		{name: "unfinished header, one name", begin: header(lines)},
		{name: "unfinished header, many names", begin: header(names.String())},
		{name: "socket that does not read", inboxes: true, begin: func(s *stuck, i int) error { return s.socket(i, nil) }},
		{name: "socket that does not read, TLS", tls: true, inboxes: true, begin: func(s *stuck, i int) error { return s.socket(i, nil) }},
		{name: "socket, unfinished frame", atOnce: true, begin: func(s *stuck, i int) error { return s.socket(i, frame[:len(frame)-1]) }},
		{name: "socket, unfinished frame, TLS", atOnce: true, tls: true, begin: func(s *stuck, i int) error { return s.socket(i, frame[:len(frame)-1]) }},
		{name: "socket, first fragment", atOnce: true, begin: func(s *stuck, i int) error { return s.socket(i, parts) }},
		{name: "socket, many small fragments", atOnce: true, begin: func(s *stuck, i int) error { return s.socket(i, small) }},
		{name: "PeerJS that does not read", begin: (*stuck).peerReads},
		{name: "PeerJS, unfinished frame", atOnce: true, begin: func(s *stuck, i int) error { return s.peer(i, theirs[:len(theirs)-1]) }},
		{name: "PeerJS, unfinished frame, TLS", atOnce: true, tls: true, begin: func(s *stuck, i int) error { return s.peer(i, theirs[:len(theirs)-1]) }},
	}
}

// fragment returns a client's frame that continues a message without ending it.
func fragment(n int) []byte {
	b := appendFrame(nil, ws.OpContinuation, bytes.Repeat([]byte{'x'}, n))
	b[0] &^= 0x80
	return b
}

func (c *stuckCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	for _, k := range c.kinds() {
		if !strings.Contains(k.name, c.Kind) {
			continue
		}
		e.say("stuck: %s", k.name)
		if err := c.measure(e, k); err != nil {
			return fmt.Errorf("stuck: %s: %w", k.name, err)
		}
	}
	return nil
}

// stuck is the set of clients of one kind.
type stuck struct {
	stuckKind
	*env
	on     *process
	peers  []peer
	conns  []net.Conn
	other  *conn  // a client that does not get stuck
	from   net.IP // source address of all clients; nil: several addresses
	stored int    // bytes stored per client after the baseline was read
}

func (c *stuckCommand) measure(e *env, k stuckKind) error {
	flags := []string{"--max-in-flight=1GiB", "--inbox-ttl=1h"}
	if k.tls {
		flags = append(flags, "--tls=self-signed")
	}
	server, err := e.serve(flags...)
	if err != nil {
		return err
	}
	defer server.stop()
	s := &stuck{stuckKind: k, env: e, on: server}
	defer s.close()
	for range c.N {
		s.peers = append(s.peers, newPeer())
	}
	if s.other, err = s.dialOther(); err != nil {
		return err
	}
	if k.inboxes {
		for _, p := range s.peers {
			if err := s.fill(p); err != nil {
				return err
			}
		}
	}
	before, err := e.settle(server, c.Quiet, 3*c.Quiet)
	if err != nil {
		return err
	}
	for i := range s.peers {
		if k.streams == 0 || i%k.streams == 0 {
			if err := s.connect(); err != nil {
				return err
			}
		}
		if !k.atOnce {
			if err := k.begin(s, i); err != nil {
				return err
			}
		}
	}
	if k.atOnce { // each may wait until the server reads more
		errs := make(chan error, len(s.peers))
		for i := range s.peers {
			go func() { errs <- k.begin(s, i) }()
		}
		for range s.peers {
			if err := <-errs; err != nil {
				return err
			}
		}
	}
	most := int64(0)
	for end := time.Now().Add(c.Stuck); time.Now().Before(end); {
		if err := e.sleep(200 * time.Millisecond); err != nil {
			return err
		}
		n, err := rssOf(server.pid)
		if err != nil {
			return err
		}
		most = max(most, n)
	}
	if err := server.alive(); err != nil {
		return err
	}
	e.report.add(row{Group: stuckGroup, What: k.name, Unit: "KiB", Measured: float64(max(0, most-before-int64(c.N*s.stored))) / float64(c.N) / 1024,
		Goal: new(float64(maxStuck) / 1024), Note: s.note(before, most)})
	return nil
}

func (s *stuck) note(before, most int64) string {
	over := ""
	if s.streams > 1 {
		over = fmt.Sprintf(", %d per connection", s.streams)
	}
	return fmt.Sprintf("%s%s: %s MB before, at most %s MB with them", plural(len(s.peers), "client"), over, megabytes(before), megabytes(most))
}

func (s *stuck) close() {
	for _, c := range s.conns {
		c.Close()
	}
	if s.other != nil {
		s.other.Close()
	}
}

// connect opens a connection with a small receive buffer, so that unread data stays with
// the server.
func (s *stuck) connect() error {
	c, err := s.dial(4 << 10)
	if err != nil {
		return err
	}
	s.conns = append(s.conns, c)
	if s.streams == 0 {
		return nil
	}
	const preface, windows = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 4
	settings := []byte{0, 0, 6, windows, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0} // SETTINGS_INITIAL_WINDOW_SIZE is 0
	_, err = c.Write(append([]byte(preface), settings...))
	return err
}

func (s *stuck) dial(buffer int) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: s.address()}}
	if buffer > 0 {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer) })
		}
	}
	c, err := d.DialContext(s.ctx, "tcp", s.on.addr)
	if err != nil || !s.tls {
		return c, err
	}
	config := &tls.Config{InsecureSkipVerify: true} // the server is ours, on loopback
	if s.streams > 0 {
		config.NextProtos = []string{"h2"}
	}
	t := tls.Client(c, config)
	return t, t.Handshake()
}

func (s *stuck) address() net.IP {
	if s.from != nil {
		return s.from
	}
	return loopback(len(s.conns))
}

func (s *stuck) dialOther() (*conn, error) {
	streams := s.streams
	s.streams = 0
	defer func() { s.streams = streams }()
	c, err := s.dial(0)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, buf: make([]byte, 64<<10)}, nil
}

// ask makes a request as the client that does not get stuck.
func (s *stuck) ask(request []byte) error {
	if _, err := s.other.Write(request); err != nil {
		return err
	}
	a, err := s.other.read()
	if err == nil && a.status/100 != 2 {
		err = fmt.Errorf("got %d", a.status)
	}
	return err
}

// fill puts the message into the inbox of p.
func (s *stuck) fill(p peer) error {
	if err := s.ask(p.get("?limit=0")); err != nil {
		return err
	}
	return s.ask(s.peers[0].post(p.id, bytes.Repeat([]byte{1}, stuckBody)))
}

// write writes as much of a request as the server accepts.
func (s *stuck) write(i int, request []byte) error {
	c := s.conns[i/max(1, s.streams)]
	c.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(request); err != nil {
		if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
			return err
		}
	}
	return nil
}

// longPoll waits until all connections are parked, and then sends each the message.
func (s *stuck) longPoll(i int) error {
	if err := s.write(i, s.peers[i].get("?after=0", "Accept: application/json")); err != nil {
		return err
	}
	if i < len(s.peers)-1 {
		return nil
	}
	if err := s.sleep(time.Second); err != nil {
		return err
	}
	s.stored = stuckBody
	for _, p := range s.peers {
		if err := s.ask(s.peers[0].post(p.id, bytes.Repeat([]byte{1}, stuckBody))); err != nil {
			return err
		}
	}
	return nil
}

// stream sends a request over HTTP/2 with a part of its body.
func (s *stuck) stream(i int, method, query, accept string, body []byte) error {
	id := uint32(1 + 2*(i%s.streams))
	var block []byte
	for _, field := range [][2]string{{":method", method}, {":scheme", "http"}, {":path", "/inbox" + query}, {":authority", "localhost"},
		{"authorization", s.peers[i].auth}, {"accept", accept}} {
		// Literal fields without indexing (RFC 7541, 6.2.2), each shorter than 127 bytes.
		block = append(append(append(block, 0, byte(len(field[0]))), field[0]...), hpackLength(len(field[1]))...)
		block = append(block, field[1]...)
	}
	const headers, data, endStream, endHeaders = 1, 0, 1, 4
	flags := byte(endHeaders)
	if body == nil {
		flags |= endStream
	}
	out := h2Frame(headers, flags, id, block)
	if err := s.write(i, out); err != nil {
		return err
	}
	for len(body) > 0 { // slowly, since flow control is not tracked
		n := min(len(body), 8<<10)
		if err := errors.Join(s.write(i, h2Frame(data, 0, id, body[:n])), s.sleep(10*time.Millisecond)); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// hpackLength encodes an integer with a 7-bit prefix (RFC 7541, 5.1).
func hpackLength(n int) []byte {
	if n < 127 {
		return []byte{byte(n)}
	}
	b := []byte{127}
	for n -= 127; n >= 128; n /= 128 {
		b = append(b, byte(n%128|128))
	}
	return append(b, byte(n))
}

func h2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	return append(b, payload...)
}

// handshake upgrades a connection to a WebSocket and then sends data.
func (s *stuck) handshake(i int, target, more string, data []byte) error {
	c := s.conns[i]
	if _, err := io.WriteString(c, upgradeRequest(target, more)); err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head [12]byte
	if _, err := io.ReadFull(c, head[:]); err != nil || string(head[9:]) != "101" {
		return fmt.Errorf("a handshake got %q: %v", head, err)
	}
	return s.write(i, data)
}

func (s *stuck) socket(i int, data []byte) error {
	return s.handshake(i, "/inbox?after=0", inboxSocket+"Authorization: "+s.peers[i].auth+"\r\n", data)
}

func (s *stuck) peer(i int, data []byte) error {
	return s.handshake(i, "/peerjs?key=peerjs&token=t&version=1&id="+s.peers[i].id, "", data)
}

// peerReads waits until all PeerJS clients are connected, and then sends each more than
// its connection can buffer.
func (s *stuck) peerReads(i int) error {
	if err := s.peer(i, nil); err != nil || i < len(s.peers)-1 {
		return err
	}
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	s.conns = append(s.conns, c)
	last := len(s.conns) - 1
	sender := newPeer()
	s.peers = append(s.peers, sender)
	if err := s.peer(last, nil); err != nil {
		return err
	}
	go io.Copy(io.Discard, c)
	payload := hex.EncodeToString(make([]byte, 100<<10))
	s.stored = len(payload)
	for _, p := range s.peers[:last] {
		frame := fmt.Appendf(nil, `{"type":"OFFER","dst":"%s","payload":"%s"}`, p.id, payload)
		c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(appendFrame(nil, ws.OpText, frame)); err != nil {
			return err
		}
	}
	return nil
}
