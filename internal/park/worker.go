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

	// keptQueue bounds the length of a queue whose memory is kept while it is empty.
	keptQueue = 256
)

// workers are the goroutines that run the functions of spots.
//
// Waking a goroutine costs more than most functions. So only one worker at a time is woken or
// started, and only while spots wait. Meanwhile the running workers take spots from the queue.
// When the new worker takes one and others still wait, it wakes or starts the next worker. A
// blocked worker therefore delays no spot, and a burst of short functions costs only one wake.
type workers struct {
	lot  *Lot
	idle chan struct{} // wakes an idle worker

	mu      sync.Mutex // guards the fields below
	busy    int        // workers that neither are idle nor wait for their clients
	coming  bool       // one of them has not looked at the queue yet
	queue   []*Spot    // spots that wait for a worker
	next    int        // index of the next spot in queue
	turns   int        // spots taken from the queue since the last run of watch
	watched bool       // watch is scheduled
	rings   time.Time  // when watch should run next
}

// run runs s soon, in a worker.
func (w *workers) run(s *Spot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == cap(w.queue) && w.next > len(w.queue)/2 {
		// A server that is busy for hours never empties the queue.
		n := copy(w.queue, w.queue[w.next:])
		clear(w.queue[n:])
		w.queue, w.next = w.queue[:n], 0
	}
	w.queue = append(w.queue, s)
	w.callLocked()
}

// callLocked gets another worker if spots wait, unless one is coming.
func (w *workers) callLocked() {
	switch {
	case w.coming || w.next == len(w.queue):
	case w.busy < enoughWorkers:
		w.coming = true
		w.busy++
		select {
		case w.idle <- struct{}{}:
		default:
			go w.work()
		}
	case !w.watched:
		w.watched = true
		w.watchAgain()
	}
}

func (w *workers) watchAgain() {
	w.turns, w.rings = 0, time.Now().Add(blockedFor)
	time.AfterFunc(blockedFor, w.watch)
}

// work runs the spots from the queue, until it has been idle for a while.
func (w *workers) work() {
	idle := time.NewTimer(idleWorker)
	defer idle.Stop()
	for {
		for s := w.first(); s != nil; s = w.pop() {
			if s.turn() {
				w.run(s)
			}
		}
		idle.Reset(idleWorker)
		select {
		case <-w.idle:
		case <-idle.C:
			return
		case <-*w.lot.none.Load():
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
	w.callLocked()
}

func (w *workers) unblock() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy++
}

// first is pop for a worker that was woken or started.
func (w *workers) first() *Spot {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.coming = false
	return w.popLocked()
}

// pop returns the next spot from the queue. If the queue is empty, it returns nil and
// counts the caller as idle.
func (w *workers) pop() *Spot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.popLocked()
}

func (w *workers) popLocked() *Spot {
	if w.next == len(w.queue) {
		w.busy--
		return nil
	}
	s := w.queue[w.next]
	w.queue[w.next] = nil
	w.turns++
	if w.next++; w.next == len(w.queue) {
		w.queue, w.next = w.queue[:0], 0
		if cap(w.queue) > keptQueue {
			w.queue = nil
		}
	}
	w.callLocked()
	return s
}

// watch adds workers while all existing ones are blocked.
func (w *workers) watch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := len(w.queue) - w.next
	if waiting == 0 {
		w.watched = false
		return
	}
	if w.turns < w.busy && time.Since(w.rings) < busyBy {
		more := min(waiting, moreWorkers)
		w.busy += more
		for range more {
			go w.work()
		}
	}
	w.watchAgain()
}
