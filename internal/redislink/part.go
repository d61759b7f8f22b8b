package redislink

import (
	"context"
	"sync/atomic"
	"time"
)

// A Part is one server's view of a part of Redis: one partition of a cluster, or all
// partitions if Redis is a single primary. Its methods are safe for concurrent use.
type Part struct {
	down       atomic.Bool  // operations fail immediately
	subscribed atomic.Bool  // whether messages to this server arrive
	heard      atomic.Int64 // Unix nanoseconds of the last message
	restart    atomic.Pointer[context.CancelFunc]
	doubtful   atomic.Bool  // an operation failed since the last probe that succeeded
	ahead      atomic.Int64 // Redis's clock minus Link.Clock, in microseconds

	failing time.Time // since when probes have failed, or zero; owned by the probing goroutine
	history string    // replication id of the primary, from the last probe; same owner
}

// Down reports whether probes have failed for a while. Operations need not try then.
func (p *Part) Down() bool { return p.down.Load() }

// Suspect records that an operation failed. Doubtful reports true until a probe succeeds.
func (p *Part) Suspect() { p.doubtful.Store(true) }

// Doubtful reports whether an operation may outlast its context, because the client may
// have to connect first.
func (p *Part) Doubtful() bool { return p.doubtful.Load() }

// Ahead returns how many microseconds Redis's clock is ahead of [Link.Clock].
func (p *Part) Ahead() int64 { return p.ahead.Load() }

// Observe updates the estimate of Redis's clock. now is the clock in a reply, and came
// the [Link.Clock] at which the reply arrived. Redis read its clock slightly before the
// reply arrived, so deadlines derived from the estimate err on the early side. Observe
// ignores a now of zero.
func (p *Part) Observe(now, came int64) {
	if now != 0 {
		p.ahead.Store(now - came)
	}
}

func (p *Part) hear() { p.heard.Store(time.Now().UnixNano()) }
