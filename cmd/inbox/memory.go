package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// returnMemory gives memory back after a burst. Go's collector runs when much is
// allocated: of ten thousand peers who have come and now only wait, or have gone,
// it would keep for minutes what their coming took.
//
// It collects when nothing else did for a while and there is enough to gain: at
// most once in two ticks, and never under load, when the collector runs by
// itself. What expired since the last collection nobody knows before the next, so
// one is made from time to time where it is cheap; elsewhere Go's own comes after
// two minutes.
func returnMemory(ctx context.Context) {
	const every, worthwhile = 5 * time.Second, 1 << 20
	const seldom, cheap = 6, 64 << 20 // ticks, bytes
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, // live, or not collected yet
		{Name: "/memory/classes/heap/free:bytes"},
	}
	tick := time.NewTicker(every)
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
		if gain > worthwhile+live/4 || quiet >= seldom && live < cheap {
			debug.FreeOSMemory()
			cycles = 0 // so that the next is two ticks away
		}
	}
}
