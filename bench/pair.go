package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// line is pairs of sockets at one server, all used in the same way.
type line struct {
	form  string // empty: a bare relay; "peerjs"; else one of relayCommand.Form
	p     *process
	pairs []*pair

	running atomic.Bool
	done    atomic.Int64 // messages that arrived
	pending atomic.Int64 // messages under way
	closed  atomic.Bool
	mu      sync.Mutex // guards err
	err     error      // the first
	readers sync.WaitGroup
}

// pair is two sockets, of which one sends to the other.
type pair struct {
	line     *line
	from, to *socket
	ids      [2]peer
	ackEvery int
	came     int
	unacked  int

	mu      sync.Mutex // guards what follows, and the writing
	payload []byte     // a send
	number  []byte     // where in it the message has its number
	key     []byte     // and its key; nil if it has none
	sent    int
}

func bareUpgrade(what string, i int) string {
	return fmt.Sprintf("GET /%s/%d HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: inbox.v1\r\n\r\n", what, i)
}

// open connects all pairs.
func (l *line) open(e *env, c *relayCommand) error {
	life := time.Duration(c.Rounds+1)*4*(c.Round+time.Second) + time.Minute
	for i := range c.Pairs {
		p := &pair{line: l, ids: [2]peer{newPeer(), newPeer()}, ackEvery: 8}
		l.pairs = append(l.pairs, p)
		for k, side := range []**socket{&p.to, &p.from} {
			conn, err := l.p.dial(e.ctx, i, life, 8<<10)
			if err != nil {
				return err
			}
			switch l.form {
			case "":
				*side, err = upgrade(conn, bareUpgrade("pair", i))
			case "peerjs":
				*side, err = openPeerJS(conn, p.ids[k])
			default:
				*side, err = openSocket(conn, p.ids[k], "frame")
			}
			if err != nil {
				conn.Close()
				return err
			}
		}
		p.prepare(c.Body)
		l.readers.Go(func() { l.fail(p.receive()) })
		l.readers.Go(func() { l.fail(p.answers()) })
	}
	return nil
}

// acknowledges reports whether the protocol knows that.
func (l *line) acknowledges() bool { return l.form == "lean" || l.form == "full" }

// prepare writes the frame that is sent again and again.
func (p *pair) prepare(body int) {
	head, tail := fmt.Sprintf(`{"type":"send","to":"%s",`, p.ids[0].id), `"}`
	keyAt := 0
	if p.line.form == "peerjs" {
		head, tail = fmt.Sprintf(`{"type":"CANDIDATE","dst":"%s","payload":{`, p.ids[0].id), `"}}`
	}
	if p.line.form == "full" {
		p.ackEvery = 1
		head += `"key":"`
		keyAt = len(head)
		head += `00000000",`
	}
	head += `"body":"`
	p.payload = append(append([]byte(head), text("00000000 ", body)...), tail...)
	p.number = p.payload[len(head):][:numberDigits]
	if keyAt > 0 {
		p.key = p.payload[keyAt:][:numberDigits]
	}
}

// send sends the next message.
func (p *pair) send() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent++
	digits(p.number, p.sent)
	if p.key != nil {
		digits(p.key, p.sent)
	}
	p.line.pending.Add(1)
	return p.from.send(p.payload)
}

// receive sees that every message comes, in order, and lets another follow.
func (p *pair) receive() error {
	for {
		m, err := p.to.next()
		if err != nil {
			return err
		}
		body := stringField(m, "body")
		if len(body) < numberDigits {
			return fmt.Errorf("no message came, but %.200s", m)
		}
		if p.came++; number(body[:numberDigits]) != p.came {
			return fmt.Errorf("message %d should have come, and %.20q came", p.came, body)
		}
		p.line.done.Add(1)
		if p.unacked++; p.line.acknowledges() && p.unacked >= p.ackEvery {
			p.unacked = 0
			if err := p.to.send(fmt.Appendf(nil, `{"type":"ack","after":"%s"}`, stringField(m, "cursor"))); err != nil {
				return err
			}
		}
		if p.line.pending.Add(-1); p.line.running.Load() {
			if err := p.send(); err != nil {
				return err
			}
		}
	}
}

// answers reads what the sender is told.
func (p *pair) answers() error {
	for {
		m, err := p.from.next()
		if err != nil {
			return err
		}
		if string(stringField(m, "type")) != "sent" {
			return fmt.Errorf("the sender was told %.200s", m)
		}
	}
}

// measure lets messages flow for a time.
func (l *line) measure(e *env, c *relayCommand) (sample, error) {
	l.running.Store(true)
	// From then on a message follows each that arrives.
	for _, p := range l.pairs {
		for range c.InFlight {
			if err := p.send(); err != nil {
				return sample{}, errors.Join(err, l.failed())
			}
		}
	}
	taken, err := measure(e, l.p, &l.done, c.Round)
	l.running.Store(false)
	for end := time.Now().Add(5 * time.Second); l.pending.Load() > 0 && l.failed() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			err = errors.Join(err, fmt.Errorf("%s did not arrive", plural(int(l.pending.Load()), "message")))
			break
		}
	}
	return taken, errors.Join(err, l.failed())
}

func (l *line) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && !l.closed.Load() {
		l.err = err
	}
}

func (l *line) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *line) close() {
	l.closed.Store(true)
	for _, p := range l.pairs {
		for _, s := range []*socket{p.from, p.to} {
			if s != nil {
				s.Close()
			}
		}
	}
	l.readers.Wait()
}
