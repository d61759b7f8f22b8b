// Package throttle keeps a fault that every client meets from filling the log.
package throttle

import (
	"sync/atomic"
	"time"
)

// EachSecond lets one event of each second of the clock pass. Its zero value is ready to
// use, and it is safe for concurrent use. It holds no lock while its caller logs, as
// rate.Sometimes does.
type EachSecond struct {
	last atomic.Int64 // the second of the last event that passed, in Unix time
}

// Allow reports whether an event is the first of its second.
func (e *EachSecond) Allow() bool {
	now := time.Now().Unix()
	last := e.last.Load()
	return last != now && e.last.CompareAndSwap(last, now)
}
