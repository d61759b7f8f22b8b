package redislink

import (
	"math"
	"testing"

	"inbox/internal/redistest"
)

// Partitions are spread evenly over any number of primaries, and Redis computes the same
// slots.
func TestPartitionsAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--cluster-enabled", "yes")
	seen := map[string]bool{}
	for _, tag := range tags() {
		m := redis.Must("CLUSTER", "KEYSLOT", "inbox:{"+tag+"}x")
		slot, err := m.AsInt64()
		if err != nil || slot != int64(crc16(tag)%16384) || seen[tag] || tag == "" {
			t.Fatalf("the tag %q is in the slot %d: %v", tag, slot, err)
		}
		seen[tag] = true
	}
	for primaries := 1; primaries <= 64; primaries++ {
		parts := make([]int, primaries)
		for _, tag := range tags() {
			parts[int(crc16(tag)%16384)*primaries/16384]++
		}
		for _, n := range parts {
			if even := float64(Partitions) / float64(primaries); math.Abs(float64(n)-even) > 1.5 {
				t.Errorf("with %d primaries, one has %d partitions, want about %.1f", primaries, n, even)
			}
		}
	}
}
