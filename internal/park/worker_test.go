package park

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// While spots wait all the time, the memory of their queue depends on how many wait, not on
// how many have waited.
func TestQueueThatIsNeverEmpty(t *testing.T) {
	l := newLot(t)
	const runs = 200_000
	spots := make([]*Spot, 200)
	var left, longest atomic.Int64
	left.Store(runs)
	var parking, gone sync.WaitGroup
	parking.Add(1)
	for i := range spots {
		server, _ := openPipe(t)
		gone.Add(1)
		spots[i] = parked(t, l, server, func(s *Spot, _ Events) {
			parking.Wait()
			if left.Add(-1) <= 0 {
				s.Close()
				gone.Done()
				return
			}
			for range 2 {
				spots[rand.IntN(len(spots))].Wake()
			}
			l.workers.mu.Lock()
			longest.Store(max(longest.Load(), int64(cap(l.workers.queue))))
			l.workers.mu.Unlock()
		})
	}
	parking.Done()
	l.WakeAll()
	inboxtest.Until(t, "the spots have run", func() bool { return left.Load() <= 0 })
	l.WakeAll()
	gone.Wait()
	if n := longest.Load(); n > int64(4*len(spots)) {
		t.Errorf("a queue of at most %d spots had room for %d", len(spots), n)
	}
}

// However many spots wait, and whatever others do meanwhile, each runs after it was woken.
func TestSpotsRunWhileOthersBlock(t *testing.T) {
	l := newLot(t)
	spots := make([]*Spot, 500)
	asked := make([]atomic.Bool, len(spots))
	var ends atomic.Bool
	var gone sync.WaitGroup
	for i := range spots {
		server, _ := openTCP(t)
		gone.Add(1)
		spots[i] = parked(t, l, server, func(s *Spot, _ Events) {
			asked[i].Store(false)
			if ends.Load() {
				s.Close()
				gone.Done()
				return
			}
			switch rand.IntN(100) {
			case 0: // a slow store
				time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
			case 1: // a slow client
				_, _ = s.Read(make([]byte, 1), time.Now().Add(10*time.Millisecond))
			}
		})
	}
	var wakers sync.WaitGroup
	for range 4 {
		wakers.Go(func() {
			for range 5000 {
				i := rand.IntN(len(spots))
				asked[i].Store(true)
				spots[i].Wake()
			}
		})
	}
	wakers.Wait()
	inboxtest.Until(t, "each has run", func() bool {
		for i := range asked {
			if asked[i].Load() {
				return false
			}
		}
		return true
	})
	ends.Store(true)
	l.WakeAll()
	gone.Wait()
	inboxtest.Until(t, "no worker is busy", func() bool {
		l.workers.mu.Lock()
		defer l.workers.mu.Unlock()
		return l.workers.busy == 0 && !l.workers.coming
	})
}

// A spot that always has more to do lets others run in between.
func TestTurns(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		done := make(chan struct{})
		server, _ := open(t)
		other := parked(t, l, server, func(s *Spot, _ Events) {
			close(done)
			s.Close()
		})
		turns := 0 // used only by the function, then after the end
		server, _ = open(t)
		busy := parked(t, l, server, func(s *Spot, _ Events) {
			turns++
			if turns == 1 {
				other.Wake()
			}
			select {
			case <-done:
				s.Close()
			default:
				s.Wake()
			}
		})
		busy.Wake()
		inboxtest.Until(t, "both have ended", func() bool { return l.Len() == 0 })
		if turns > 10 {
			t.Errorf("the busy spot had %d turns before the other had one", turns)
		}
	})
}
