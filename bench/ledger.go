package main

// ledger is what one receiver should get: the messages 0 to n-1, in this order,
// each once.
type ledger struct {
	seen []bool
	next int // one above the highest that came

	duplicated, disordered, foreign int
}

func newLedger(n int) *ledger { return &ledger{seen: make([]bool, n)} }

// got notes that message i came.
func (l *ledger) got(i int) {
	switch {
	case i < 0 || i >= len(l.seen):
		l.foreign++
		return
	case l.seen[i]:
		l.duplicated++
		return
	case i < l.next:
		l.disordered++ // one that it should have come before is here already
	}
	l.seen[i] = true
	l.next = max(l.next, i+1)
}

// lost is how many did not come, so far.
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

// tally adds ledgers up.
type tally struct{ lost, duplicated, disordered, foreign int }

func (t *tally) add(l *ledger) {
	t.lost += l.lost()
	t.duplicated += l.duplicated
	t.disordered += l.disordered
	t.foreign += l.foreign
}
