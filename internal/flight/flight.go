// Package flight bounds the bytes that a server holds because they are on their way:
// bodies and frames that have not arrived whole, and answers that a client has not
// read yet. The server shares one [Budget] among all protocols.
package flight

import "sync/atomic"

// Default is the limit of a Budget that nobody has chosen, in bytes.
const Default = 256 << 20

// A Budget counts bytes in flight against a limit. It is safe for concurrent use, and
// it never waits: a caller that gets nothing answers its client so.
type Budget struct {
	limit int64
	used  atomic.Int64
	slow  slow
}

// New returns a Budget of limit bytes; 0 means [Default].
func New(limit int64) *Budget {
	if limit == 0 {
		limit = Default
	}
	return &Budget{limit: limit, slow: slow{limit: int(max(minSlow, limit/256))}}
}

// Take reserves n bytes and reports whether there was room for them. The caller gives
// them back with Give.
func (b *Budget) Take(n int) bool {
	for {
		used := b.used.Load()
		if n > 0 && used+int64(n) > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

// Give returns n bytes that Take has reserved.
func (b *Budget) Give(n int) { b.used.Add(int64(-n)) }

// Used returns how many bytes are reserved.
func (b *Budget) Used() int64 { return b.used.Load() }
