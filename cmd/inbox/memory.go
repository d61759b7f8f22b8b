package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// returnMemory returns memory to the system after a burst. Go collects garbage when much
// is allocated. When ten thousand peers have connected and now only wait, or have left,
// it would keep the memory of that burst for minutes.
//
// returnMemory collects if nothing else has for a while and enough can be gained. That is
// at most once in two ticks, and never under load, when Go's collector runs anyway. Only a
// collection shows how much has become garbage, so on small heaps it also runs one now and
// then. On large heaps, Go's own periodic collection follows within two minutes.
func returnMemory(ctx context.Context) {
	const interval, minGain = 5 * time.Second, 1 << 20
	const maxQuiet, smallHeap = 6, 64 << 20 // ticks, bytes
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, // live or not yet collected
		{Name: "/memory/classes/heap/free:bytes"},
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var cycles uint64
	quiet := 0 // ticks without a collection
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(samples)
		before := cycles
		cycles = samples[0].Value.Uint64()
		live, objects, free := samples[1].Value.Uint64(), samples[2].Value.Uint64(), samples[3].Value.Uint64()
		if quiet++; cycles != before {
			quiet = 0
			continue
		}
		gain := objects - min(live, objects) + free
		if gain > minGain+live/4 || quiet >= maxQuiet && live < smallHeap {
			debug.FreeOSMemory()
			cycles = 0 // makes the next tick look busy, so the next collection is two ticks away
		}
	}
}
