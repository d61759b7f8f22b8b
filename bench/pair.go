package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// line is a set of socket pairs at one server, all used in the same way.
type line struct {
	form  string // empty: a bare relay; "peerjs"; or one of relayCommand.Form
	p     *process
	pairs []*pair

	running atomic.Bool
	done    atomic.Int64 // messages that have arrived
	pending atomic.Int64 // messages in flight
	closed  atomic.Bool
	mu      sync.Mutex // guards err
	err     error      // the first error
	readers sync.WaitGroup
}

// pair is two sockets, one of which sends to the other.
type pair struct {
	line     *line
	from, to *socket
	ids      [2]peer
	ackEvery int
	arrived  int
	unacked  int

	mu      sync.Mutex // guards the fields below and writes
	payload []byte     // the frame to send
	number  []byte     // position of the message's number in payload
	key     []byte     // position of the idempotency key; nil without a key
	sent    int
}

func bareUpgrade(what string, i int) string {
	return upgradeRequest(fmt.Sprintf("/%s/%d", what, i), inboxSocket)
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

// acknowledges reports whether the protocol has acknowledgements.
func (l *line) acknowledges() bool { return l.form == "lean" || l.form == "full" }

// prepare encodes the frame that is sent repeatedly.
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

// receive checks that every message arrives in order, and sends another for each.
func (p *pair) receive() error {
	for {
		m, err := p.to.next()
		if err != nil {
			return err
		}
		body := stringField(m, "body")
		if len(body) < numberDigits {
			return fmt.Errorf("got %.200s, want a message", m)
		}
		if p.arrived++; number(body[:numberDigits]) != p.arrived {
			return fmt.Errorf("got %.20q, want message %d", body, p.arrived)
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

// answers reads the responses to the sender.
func (p *pair) answers() error {
	for {
		m, err := p.from.next()
		if err != nil {
			return err
		}
		if string(stringField(m, "type")) != "sent" {
			return fmt.Errorf("the sender got %.200s", m)
		}
	}
}

// measure lets messages flow for a round.
func (l *line) measure(e *env, c *relayCommand) (sample, error) {
	l.running.Store(true)
	// Each message that arrives triggers another.
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
