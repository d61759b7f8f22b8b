package throttle_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"inbox/internal/throttle"
)

func TestOneEventPerSecondPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults throttle.EachSecond
		for second := range 5 {
			var passed atomic.Int32
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					if faults.Allow() {
						passed.Add(1)
					}
				})
			}
			all.Wait()
			time.Sleep(900 * time.Millisecond)
			if faults.Allow() || passed.Load() != 1 {
				t.Errorf("second %d: %d of 100 concurrent events passed, want 1, and none 900 ms later", second, passed.Load())
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}
