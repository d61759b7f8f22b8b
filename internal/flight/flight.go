// Package flight bounds the memory a server uses for data in flight: bodies and frames
// that have not arrived completely, and answers that clients have not read yet. All
// protocols of a server share one [Budget], and each client is limited to a share of it.
package flight

import (
	"net/netip"
	"sync/atomic"

	"inbox/internal/limit"
	"inbox/internal/problem"
)

// Default is the default limit of a Budget, in bytes.
const Default = 256 << 20

// A Budget counts bytes in flight against a limit. It never waits: a caller that is
// refused reports the problem to its client. It is safe for concurrent use.
type Budget struct {
	limit   int64
	used    atomic.Int64
	slow    slow
	clients *limit.Clients
}

// New returns a Budget of limit bytes, or [Default] if limit is 0.
func New(limit int64) *Budget { return NewShared(limit, nil) }

// NewShared returns a Budget that also enforces the limit per client, Config.Bytes.
func NewShared(limit int64, clients *limit.Clients) *Budget {
	if limit == 0 {
		limit = Default
	}
	return &Budget{limit: limit, slow: slow{limit: int(max(minSlow, limit/256))}, clients: clients}
}

// BoundSlow sets how much memory slow messages share, in bytes. The default is a 256th of
// the limit, at least 2 MiB. Call it before the first Take.
func (b *Budget) BoundSlow(limit int64) { b.slow.limit = int(limit) }

// Take reserves n bytes for a client, or returns the problem to answer with. The caller
// returns them with Give, for the same client.
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

// Used returns the number of reserved bytes.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit returns the maximum number of reserved bytes.
func (b *Budget) Limit() int64 { return b.limit }

const (
	// KernelBuffers is how many bytes of bodies the kernel accepts over HTTP/1 and on sockets
	// whether or not the client reads, so that the server need not hold them. HTTP/2 has
	// flow control instead.
	KernelBuffers = 4 << 10

	// answerBuffers is what an answer holds in addition to its bodies, in bytes.
	answerBuffers = 16 << 10
)

// Answer returns how many bytes in flight an answer counts for while its client does not read:
// its bodies and buffers, or none if the kernel accepts it.
func Answer(bodies int, http2 bool) int {
	if bodies <= KernelBuffers && !http2 {
		return 0
	}
	return bodies + answerBuffers
}
