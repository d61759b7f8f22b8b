package shrink_test

import (
	"maps"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"inbox/internal/shrink"
)

func TestMapBehavesLikeABuiltInMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m shrink.Map[int, int]
		want := make(map[int]int)
		most := rapid.IntRange(1, 1000).Draw(t, "most")
		t.Repeat(map[string]func(*rapid.T){
			"put many": func(t *rapid.T) {
				for k := range rapid.IntRange(1, most).Draw(t, "n") {
					m.Put(k, k+len(want))
					want[k] = k + len(want)
				}
			},
			"delete many": func(t *rapid.T) {
				for k := range rapid.IntRange(1, most).Draw(t, "n") {
					m.Delete(k)
					delete(want, k)
				}
			},
			"delete in a loop": func(t *rapid.T) {
				odd := rapid.IntRange(0, 1).Draw(t, "odd")
				seen := 0
				for k := range m.All() {
					if seen++; k%2 == odd {
						m.Delete(k)
					}
				}
				if seen != len(want) {
					t.Errorf("the loop saw %d entries, want %d", seen, len(want))
				}
				maps.DeleteFunc(want, func(k, _ int) bool { return k%2 == odd })
			},
			"": func(t *rapid.T) {
				if got := maps.Collect(m.All()); !maps.Equal(got, want) || m.Len() != len(want) {
					t.Errorf("the map contains %v, want %v", got, want)
				}
				for k := range most {
					if m.Get(k) != want[k] {
						t.Errorf("Get(%d) = %d, want %d", k, m.Get(k), want[k])
					}
				}
				if n := m.Len(); m.Room() < n || m.Room() >= 64 && n <= m.Room()/4 || n == 0 && m.Room() != 0 {
					t.Errorf("%d entries have room for %d", n, m.Room())
				}
			},
		})
	})
}

// After shrinking from a million entries to a thousand, a map takes the memory of a
// thousand.
func TestDeleteFreesMemory(t *testing.T) {
	const many, kept = 1_000_000, 1000
	var m shrink.Map[int, int]
	before := heap()
	for k := range many {
		m.Put(k, k)
	}
	full := heap() - before
	for k := range many - kept {
		m.Delete(k)
	}
	if left := heap() - before; left > full/100 {
		t.Errorf("%d entries take %d KiB, and the remaining %d still take %d KiB", many, full>>10, kept, left>>10)
	}
	runtime.KeepAlive(&m)
}

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
