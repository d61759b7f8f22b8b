// Package flight bounds the bytes that a server holds because they are on their way:
// bodies and frames that have not arrived whole, and answers that a client has not
// read yet. The server shares one [Budget] among all protocols, of which one client gets
// a part.
package flight

import (
	"net/netip"
	"sync/atomic"

	"inbox/internal/limit"
	"inbox/internal/problem"
)

// Default is the limit of a Budget that nobody has chosen, in bytes.
const Default = 256 << 20

// A Budget counts bytes in flight against a limit. It is safe for concurrent use, and
// it never waits: a caller that gets nothing answers its client so.
type Budget struct {
	limit   int64
	used    atomic.Int64
	slow    slow
	clients *limit.Clients
}

// New returns a Budget of limit bytes; 0 means [Default].
func New(limit int64) *Budget { return NewShared(limit, nil) }

// NewShared returns a Budget that gives one client no more than its share.
func NewShared(limit int64, clients *limit.Clients) *Budget {
	if limit == 0 {
		limit = Default
	}
	return &Budget{limit: limit, slow: slow{limit: int(max(minSlow, limit/256))}, clients: clients}
}

// BoundSlow sets the memory that parts of messages share which come slowly, in bytes,
// instead of a 256th of the limit. Call it before the first Take.
func (b *Budget) BoundSlow(limit int64) { b.slow.limit = int(limit) }

// Take reserves n bytes for a client, or returns the problem that answers it. The caller
// gives them back with Give, for the same client.
func (b *Budget) Take(client netip.Addr, n int) error {
	if err := b.clients.Hold(client, n); err != nil {
		return err
	}
	for {
		used := b.used.Load()
		if n > 0 && used+int64(n) > b.limit {
			b.clients.Release(client, n)
			return problem.ServerFull
		}
		if b.used.CompareAndSwap(used, used+int64(n)) {
			return nil
		}
	}
}

// Give returns n bytes that Take has reserved.
func (b *Budget) Give(client netip.Addr, n int) {
	b.used.Add(int64(-n))
	b.clients.Release(client, n)
}

// Used returns how many bytes are reserved.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit returns how many bytes may be reserved.
func (b *Budget) Limit() int64 { return b.limit }
