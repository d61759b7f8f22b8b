package park

import (
	"sync"
	"time"
)

const (
	// idleWorker is how long an idle goroutine is kept: a new one has to grow its
	// stack first, which costs a tenth of what a message does.
	idleWorker = 250 * time.Millisecond

	// enoughWorkers bounds how many goroutines run at once while none of them
	// blocks. When thousands of spots are woken together the others wait for their
	// turn in a queue, which takes 8 bytes for each instead of a stack.
	enoughWorkers = 32

	// Workers that block in a store that is far away must not hold up the rest. If
	// fewer spots had their turn within blockedFor than there are workers, as many as
	// moreWorkers join them, unless the processor is what they wait for: then a timer
	// rings later than busyBy.
	blockedFor  = 10 * time.Millisecond
	busyBy      = time.Millisecond / 2
	moreWorkers = 32
)

// workers are the goroutines that run the functions of spots.
type workers struct {
	direct chan *Spot // to a worker that is idle

	mu      sync.Mutex // guards what follows
	busy    int
	queue   []*Spot   // of those for whom there is no worker
	next    int       // in queue
	turns   int       // taken from the queue since the last look of watch
	watched bool      // watch runs
	rings   time.Time // when watch was to run next
}

// run runs s soon, in a goroutine.
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

// work runs s and whatever comes after it, until nothing came for a while.
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

// block says that the caller's function waits for its client, and does not count as
// busy until unblock.
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

// pop returns the next spot of the queue, or nil: the caller is not busy then.
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

// watch adds workers while those that there are block.
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
