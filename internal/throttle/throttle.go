// Package throttle keeps a fault that affects every client from flooding the log.
package throttle

import (
	"sync/atomic"
	"time"
)

// EachSecond passes one event per second of the clock. The zero value is ready to use. It
// is safe for concurrent use. Unlike rate.Sometimes, it holds no lock while the caller
// logs.
type EachSecond struct {
	last atomic.Int64 // Unix time of the last event that passed
}

// Allow reports whether this event is the first of its second.
func (e *EachSecond) Allow() bool {
	now := time.Now().Unix()
	last := e.last.Load()
	return last != now && e.last.CompareAndSwap(last, now)
}
