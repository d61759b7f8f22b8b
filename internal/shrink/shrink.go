// Package shrink has a map that gives memory back. Go's own keep the room of their best
// days.
package shrink

import (
	"iter"
	"maps"
)

// few is the room below which a map that is not empty stays as it is. It takes a few
// KiB.
const few = 64

// A Map is a map whose room follows what it holds: when a quarter of it is left, that is
// copied to a smaller one, which the three quarters that went have paid for. An empty Map
// holds nothing. The zero Map is empty. It is not safe for concurrent use.
type Map[K comparable, V any] struct {
	m    map[K]V
	room int
}

// Get returns the value of k, or the zero value.
func (m *Map[K, V]) Get(k K) V { return m.m[k] }

// Len returns the number of entries.
func (m *Map[K, V]) Len() int { return len(m.m) }

// Room returns the number of entries for which memory is kept: the largest Len since it
// last shrank.
func (m *Map[K, V]) Room() int { return m.room }

// All is a loop over the entries, in no order. Its body may call Delete.
func (m *Map[K, V]) All() iter.Seq2[K, V] { return maps.All(m.m) }

// Put sets the value of k.
func (m *Map[K, V]) Put(k K, v V) {
	if m.m == nil {
		m.m = make(map[K]V)
	}
	m.m[k] = v
	m.room = max(m.room, len(m.m))
}

// Delete removes k, if it is there.
func (m *Map[K, V]) Delete(k K) {
	delete(m.m, k)
	switch n := len(m.m); {
	case n == 0:
		m.m, m.room = nil, 0
	case m.room >= few && n <= m.room/4:
		smaller := make(map[K]V, n)
		maps.Copy(smaller, m.m)
		m.m, m.room = smaller, n
	}
}
