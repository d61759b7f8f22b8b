package park

import (
	"container/heap"
	"sync"
	"time"
)

// tick is the multiple to which times are rounded up, so that thousands of timeouts share
// a few wake-ups of the machine.
const tick = 100 * time.Millisecond

// alarms schedules the timeouts of all spots with one timer of the runtime and 16 bytes
// per spot.
type alarms struct {
	epoch time.Time

	mu    sync.Mutex // guards the fields below, and when and alarm of each spot
	heap  alarmHeap
	timer *time.Timer
	set   time.Duration // when timer fires; 0 if it is not set
}

// noAlarm is the heap index of a spot without an alarm.
const noAlarm = -1

// setAfter sets or replaces the alarm of a spot.
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

// clear removes the alarm of a spot, if any.
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

// schedule sets the timer for the earliest alarm, unless it is already set early enough.
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

// ring posts Timeout to the spots whose time has come.
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
	if n < len(due) { // otherwise the caller calls again
		a.set = 0
		a.schedule(now)
	}
	return n
}

// alarmHeap is a min-heap by time.
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
