// Package shrink provides a map that frees memory when entries are deleted. Go's built-in
// maps never do.
package shrink

import (
	"iter"
	"maps"
)

// minRoom is the size below which a map does not shrink until it is empty. It takes a minRoom
// KiB.
const minRoom = 64

// A Map is a map whose memory follows its size. When it falls to a quarter of its largest
// size, it copies the rest to a smaller map, which costs constant time per deletion on
// average. An empty Map takes no memory. The zero Map is empty. A Map is not safe for
// concurrent use.
type Map[K comparable, V any] struct {
	m    map[K]V
	room int
}

// Get returns the value for k, or the zero value.
func (m *Map[K, V]) Get(k K) V { return m.m[k] }

// Len returns the number of entries.
func (m *Map[K, V]) Len() int { return len(m.m) }

// Room returns the number of entries that memory is allocated for: the largest Len since
// the map last shrank.
func (m *Map[K, V]) Room() int { return m.room }

// All returns an iterator over the entries in unspecified order. The loop may call
// Delete.
func (m *Map[K, V]) All() iter.Seq2[K, V] { return maps.All(m.m) }

// Put sets the value for k.
func (m *Map[K, V]) Put(k K, v V) {
	if m.m == nil {
		m.m = make(map[K]V)
	}
	m.m[k] = v
	m.room = max(m.room, len(m.m))
}

// Delete removes the entry for k, if any.
func (m *Map[K, V]) Delete(k K) {
	delete(m.m, k)
	switch n := len(m.m); {
	case n == 0:
		m.m, m.room = nil, 0
	case m.room >= minRoom && n <= m.room/4:
		smaller := make(map[K]V, n)
		maps.Copy(smaller, m.m)
		m.m, m.room = smaller, n
	}
}
