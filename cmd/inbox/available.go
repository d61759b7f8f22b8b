package main

import (
	"bytes"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// available returns how much memory the process may use, in bytes. It is the lowest of
// GOMEMLIMIT, the limits of the process's control groups, and the machine's memory. If
// none of these is known, it returns 2 GiB.
func available() int64 {
	least := int64(math.MaxInt64)
	note := func(n int64, ok bool) {
		if ok && n > 0 {
			least = min(least, n)
		}
	}
	note(debug.SetMemoryLimit(-1), true) // -1 only reads the limit
	note(machineMemory())
	note(limitIn("/sys/fs/cgroup/memory/memory.limit_in_bytes")) // cgroup v1
	group := "/"
	if of, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(of)) {
			if own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
				group = path.Clean("/" + own)
			}
		}
	}
	for {
		note(limitIn("/sys/fs/cgroup" + path.Join(group, "memory.max")))
		if group == "/" {
			break
		}
		group = path.Dir(group)
	}
	if least == math.MaxInt64 {
		return 2 << 30
	}
	return least
}

// limitIn reads a limit of a control group. It reports false for "max".
func limitIn(file string) (int64, bool) {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(content)), 10, 64)
	return n, err == nil
}

func machineMemory() (int64, bool) {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}

// inFlightLimit returns the default of --max-in-flight: an eighth of the memory, between
// 32 MiB and 1 GiB.
func inFlightLimit(available int64) int64 {
	return min(max(available/8, 32<<20), 1<<30)
}
