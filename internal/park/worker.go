package park

import (
	"sync"
	"time"
)

const (
	// idleWorker is how long an idle goroutine is kept. Starting a new one and growing
	// its stack costs a tenth of delivering a message.
	idleWorker = 250 * time.Millisecond

	// enoughWorkers bounds how many unblocked goroutines run at once. When thousands of
	// spots are woken together, the others wait in a queue, which takes 8 bytes per spot
	// instead of a stack.
	enoughWorkers = 32

	// Workers that block in a slow store must not hold up the rest. If fewer spots than
	// there are workers had their turn within blockedFor, up to moreWorkers join. They do
	// not if the CPU is the bottleneck, which shows in a timer that fires later than
	// busyBy.
	blockedFor  = 10 * time.Millisecond
	busyBy      = time.Millisecond / 2
	moreWorkers = 32
)

// workers are the goroutines that run the functions of spots.
type workers struct {
	direct chan *Spot // to an idle worker

	mu      sync.Mutex // guards the fields below
	busy    int
	queue   []*Spot   // spots that wait for a worker
	next    int       // index of the next spot in queue
	turns   int       // spots taken from the queue since the last run of watch
	watched bool      // watch is scheduled
	rings   time.Time // when watch should run next
}

// run runs s soon, in another goroutine.
func (w *workers) run(s *Spot) {
	select {
	case w.direct <- s:
		return
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy < enoughWorkers {
		w.busy++
		go w.work(s)
		return
	}
	w.queue = append(w.queue, s)
	if !w.watched {
		w.watched = true
		w.watchAgain()
	}
}

func (w *workers) watchAgain() {
	w.turns, w.rings = 0, time.Now().Add(blockedFor)
	time.AfterFunc(blockedFor, w.watch)
}

// work runs s and then the spots from the queue, until it has been idle for a while.
func (w *workers) work(s *Spot) {
	lot := s.lot
	var idle *time.Timer
	for {
		s.loop()
		if s = w.pop(); s != nil {
			continue
		}
		if idle == nil {
			idle = time.NewTimer(idleWorker)
			defer idle.Stop()
		} else {
			idle.Reset(idleWorker)
		}
		select {
		case s = <-w.direct:
			w.mu.Lock()
			w.busy++
			w.mu.Unlock()
		case <-idle.C:
			return
		case <-*lot.none.Load():
			return
		}
	}
}

// block marks the calling worker as waiting for its client. It does not count as busy
// until unblock.
func (w *workers) block() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	if s := w.popLocked(); s != nil {
		w.busy++
		go w.work(s)
	}
}

func (w *workers) unblock() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy++
}

// pop returns the next spot from the queue. If the queue is empty, it returns nil and
// counts the caller as idle.
func (w *workers) pop() *Spot {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.popLocked(); s != nil {
		return s
	}
	w.busy--
	return nil
}

func (w *workers) popLocked() *Spot {
	if w.next == len(w.queue) {
		return nil
	}
	s := w.queue[w.next]
	w.queue[w.next] = nil
	w.turns++
	if w.next++; w.next == len(w.queue) {
		w.queue, w.next = nil, 0
	}
	return s
}

// watch adds workers while all existing ones are blocked.
func (w *workers) watch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == len(w.queue) {
		w.watched = false
		return
	}
	if w.turns < w.busy && time.Since(w.rings) < busyBy {
		for range moreWorkers {
			s := w.popLocked()
			if s == nil {
				break
			}
			w.busy++
			go w.work(s)
		}
	}
	w.watchAgain()
}
