package redislink

import (
	"context"
	"sync/atomic"
	"time"
)

// A Part is one server's way to a part of Redis: to one partition of a cluster, or to
// all of them where Redis is one server. Its methods are safe for concurrent use.
type Part struct {
	down       atomic.Bool  // operations fail immediately
	subscribed atomic.Bool  // messages to this server arrive
	heard      atomic.Int64 // when the last one arrived, in Unix nanoseconds
	restart    atomic.Pointer[context.CancelFunc]
	doubtful   atomic.Bool  // an operation failed since the last probe that succeeded
	ahead      atomic.Int64 // Redis's clock minus Link.Clock, in microseconds

	failing time.Time // since then, or zero; owned by the goroutine that probes
	history string    // of the primary's writes, as of the last probe; same owner
}

// Down reports whether probes have failed for a while. Operations need not try then.
func (p *Part) Down() bool { return p.down.Load() }

// Suspect notes that an operation failed. Until a probe succeeds, Doubtful reports true.
func (p *Part) Suspect() { p.doubtful.Store(true) }

// Doubtful reports whether an operation may take longer than its context allows,
// because the client may have to connect first.
func (p *Part) Doubtful() bool { return p.doubtful.Load() }

// Ahead returns by how many microseconds the clock of Redis is ahead of [Link.Clock].
func (p *Part) Ahead() int64 { return p.ahead.Load() }

// Observe updates the estimate of Redis's clock. now is the clock in a reply that
// arrived at the time came of [Link.Clock]; zero is ignored. Redis read its clock
// slightly before the reply arrived, so deadlines derived from it err on the early side.
func (p *Part) Observe(now, came int64) {
	if now != 0 {
		p.ahead.Store(now - came)
	}
}

func (p *Part) hear() { p.heard.Store(time.Now().UnixNano()) }
