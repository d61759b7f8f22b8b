package inboxtest

import (
	"fmt"
	"sync"
	"testing"
)

// A Ledger compares accepted messages with those that arrived. It detects messages that
// were lost, duplicated, never sent, or reordered within the messages of one sender. It
// is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex // guards everything below
	sent    map[route][]string
	arrived map[route][]string
}

type route struct{ from, to string }

// Sent records that a message was accepted.
func (l *Ledger) Sent(from, to, body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sent == nil {
		l.sent = make(map[route][]string)
	}
	l.sent[route{from, to}] = append(l.sent[route{from, to}], body)
}

// Arrived records that a message arrived.
func (l *Ledger) Arrived(from, to, body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.arrived == nil {
		l.arrived = make(map[route][]string)
	}
	l.arrived[route{from, to}] = append(l.arrived[route{from, to}], body)
}

// Balance is the result of a comparison.
type Balance struct {
	Accepted int
	Lost     int // accepted but never arrived
	Twice    int // arrived more than once
	Phantoms int // arrived but never accepted
	Swapped  int // arrived after a later message of the same sender
}

func (b Balance) String() string {
	return fmt.Sprintf("%d accepted: %d lost, %d twice, %d never sent, %d out of order",
		b.Accepted, b.Lost, b.Twice, b.Phantoms, b.Swapped)
}

// Balance compares the messages. Bodies must be unique per sender and recipient.
func (l *Ledger) Balance() Balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b Balance
	for r, bodies := range l.sent {
		position := make(map[string]int, len(bodies))
		for i, body := range bodies {
			position[body] = i
		}
		b.Accepted += len(bodies)
		times, last := make(map[string]int), -1
		for _, body := range l.arrived[r] {
			at, known := position[body]
			switch times[body]++; {
			case !known:
				b.Phantoms++
			case times[body] == 2:
				b.Twice++
			case times[body] > 2:
			case at < last:
				b.Swapped++
			default:
				last = at
			}
		}
		for _, body := range bodies {
			if times[body] == 0 {
				b.Lost++
			}
		}
	}
	for r, bodies := range l.arrived {
		if l.sent[r] == nil {
			b.Phantoms += len(bodies)
		}
	}
	return b
}

// Check logs the balance. It fails the test unless at least one message was accepted and
// each arrived exactly once, in order.
func (l *Ledger) Check(tb testing.TB) {
	tb.Helper()
	b := l.Balance()
	tb.Log(b)
	if b.Accepted == 0 || b != (Balance{Accepted: b.Accepted}) {
		tb.Errorf("the ledger does not balance: %v", b)
	}
}
