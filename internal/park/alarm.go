package park

import (
	"container/heap"
	"sync"
	"time"
)

// tick is what times are rounded up to, so that what thousands of spots wait for
// comes together: a machine that is woken for each of them does little else.
const tick = 100 * time.Millisecond

// alarms are the times at which spots are to run: one timer of the runtime for all
// of them, and 16 bytes for each.
type alarms struct {
	epoch time.Time

	mu    sync.Mutex // guards what follows, and when and alarm of each spot
	heap  alarmHeap
	timer *time.Timer
	set   time.Duration // the time that timer is set for; 0: none
}

// noAlarm is the place in the heap of a spot that is not in it.
const noAlarm = -1

// setAfter sets the alarm of a spot, instead of the one that it may have.
func (a *alarms) setAfter(s *Spot, d time.Duration) {
	now := time.Now()
	if d >= 20*tick {
		past := time.Duration(now.Add(d).UnixNano()) % tick
		d += (tick - past) % tick
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.when = now.Sub(a.epoch) + max(d, 1)
	if s.alarm == noAlarm {
		heap.Push(&a.heap, s)
	} else {
		heap.Fix(&a.heap, int(s.alarm))
	}
	a.schedule(now)
}

// clear removes the alarm of a spot.
func (a *alarms) clear(s *Spot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.alarm != noAlarm {
		heap.Remove(&a.heap, int(s.alarm))
	}
	if len(a.heap) == 0 && a.set != 0 {
		a.timer.Stop()
		a.set = 0
	}
}

// schedule sets the timer for the first alarm, unless it comes early enough anyway.
func (a *alarms) schedule(now time.Time) {
	if len(a.heap) == 0 || a.set != 0 && a.set <= a.heap[0].when {
		return
	}
	a.set = a.heap[0].when
	d := a.set - now.Sub(a.epoch)
	if a.timer == nil {
		a.timer = time.AfterFunc(d, a.ring)
	} else {
		a.timer.Reset(d)
	}
}

// ring wakes the spots whose time has come.
func (a *alarms) ring() {
	var due [64]*Spot
	for n := len(due); n == len(due); {
		n = a.take(due[:])
		for _, s := range due[:n] {
			s.post(Timeout)
		}
	}
}

func (a *alarms) take(due []*Spot) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for ; n < len(due) && len(a.heap) > 0 && a.heap[0].when <= now.Sub(a.epoch); n++ {
		due[n] = heap.Pop(&a.heap).(*Spot)
	}
	if n < len(due) { // else the caller comes again
		a.set = 0
		a.schedule(now)
	}
	return n
}

// alarmHeap has the spot with the earliest alarm at its top.
type alarmHeap []*Spot

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].when < h[j].when }
func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].alarm, h[j].alarm = int32(i), int32(j)
}

func (h *alarmHeap) Push(x any) {
	s := x.(*Spot)
	s.alarm = int32(len(*h))
	*h = append(*h, s)
}

func (h *alarmHeap) Pop() any {
	old := *h
	n := len(old) - 1
	s := old[n]
	old[n] = nil
	s.alarm = noAlarm
	if *h = old[:n]; cap(old) >= 64 && n <= cap(old)/4 { // see Lot.remove
		*h = append(make(alarmHeap, 0, 2*n), old[:n]...)
	}
	return s
}
