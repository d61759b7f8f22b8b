package main

// ledger accounts for the messages that one receiver should get: 0 to n-1, in order, once
// each.
type ledger struct {
	seen []bool
	next int // one more than the highest number received

	duplicated, disordered, foreign int
}

func newLedger(n int) *ledger { return &ledger{seen: make([]bool, n)} }

// got records the arrival of message i.
func (l *ledger) got(i int) {
	switch {
	case i < 0 || i >= len(l.seen):
		l.foreign++
		return
	case l.seen[i]:
		l.duplicated++
		return
	case i < l.next:
		l.disordered++ // a later message has already arrived
	}
	l.seen[i] = true
	l.next = max(l.next, i+1)
}

// lost returns how many messages have not arrived yet.
func (l *ledger) lost() int {
	n := 0
	for _, seen := range l.seen {
		if !seen {
			n++
		}
	}
	return n
}

func (l *ledger) complete() bool { return l.next == len(l.seen) && l.lost() == 0 }

// tally adds up ledgers.
type tally struct{ lost, duplicated, disordered, foreign int }

func (t *tally) add(l *ledger) {
	t.lost += l.lost()
	t.duplicated += l.duplicated
	t.disordered += l.disordered
	t.foreign += l.foreign
}
