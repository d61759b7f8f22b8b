package inboxtest

import (
	"fmt"
	"sync"
	"testing"
)

// A Ledger compares what was accepted with what arrived: nothing lost, nothing
// twice, nothing that nobody sent, and each sender's messages in their order.
// It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex // guards what follows
	sent    map[route][]string
	arrived map[route][]string
}

type route struct{ from, to string }

// Sent notes that a message was accepted.
func (l *Ledger) Sent(from, to, body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sent == nil {
		l.sent = make(map[route][]string)
	}
	l.sent[route{from, to}] = append(l.sent[route{from, to}], body)
}

// Arrived notes that a message arrived.
func (l *Ledger) Arrived(from, to, body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.arrived == nil {
		l.arrived = make(map[route][]string)
	}
	l.arrived[route{from, to}] = append(l.arrived[route{from, to}], body)
}

// Balance is what a Ledger comes to.
type Balance struct {
	Accepted int
	Lost     int // accepted and never arrived
	Twice    int // arrived more than once
	Phantoms int // arrived and never accepted
	Swapped  int // arrived after a later one of the same sender
}

func (b Balance) String() string {
	return fmt.Sprintf("%d accepted: %d lost, %d twice, %d never sent, %d out of order",
		b.Accepted, b.Lost, b.Twice, b.Phantoms, b.Swapped)
}

// Balance draws the balance. Bodies of one route must differ.
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

// Check logs the balance and fails unless all that was accepted, which was some,
// arrived once and in order.
func (l *Ledger) Check(tb testing.TB) {
	tb.Helper()
	b := l.Balance()
	tb.Log(b)
	if b.Accepted == 0 || b != (Balance{Accepted: b.Accepted}) {
		tb.Errorf("the ledger does not balance: %v", b)
	}
}
