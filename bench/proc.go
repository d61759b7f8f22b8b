package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// allowedCores returns the cores that this process may run on.
func allowedCores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("cannot read the CPU affinity: %w", err)
	}
	var cores []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores, nil
}

func setOf(cores []int) *unix.CPUSet {
	set := new(unix.CPUSet)
	for _, c := range cores {
		set.Set(c)
	}
	return set
}

// pinSelf moves every thread of this process to the given cores. New threads inherit from
// their creator, so it repeats until there are no new ones.
func pinSelf(cores []int) error {
	set, seen := setOf(cores), map[string]bool{}
	for range 10 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		fresh := false
		for _, t := range threads {
			fresh = fresh || !seen[t.Name()]
			seen[t.Name()] = true
			tid, _ := strconv.Atoi(t.Name())
			if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("cannot pin to a core: %w", err)
			}
		}
		if !fresh {
			break
		}
	}
	runtime.GOMAXPROCS(len(cores))
	return nil
}

// pinned runs f on a thread pinned to the given cores. A process started there inherits
// them from the beginning and sizes itself accordingly.
func pinned(cores, after []int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, setOf(cores)); err != nil {
		return fmt.Errorf("cannot pin to a core: %w", err)
	}
	return errors.Join(f(), unix.SchedSetaffinity(0, setOf(after)))
}

// cpuOf returns the time that a process has spent on a core, in user mode and in the
// kernel, including its threads.
func cpuOf(pid int) (time.Duration, error) {
	var t unix.Timespec
	clock := ^int32(pid)<<3 | 2 // as computed by clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &t); err != nil {
		return cpuInTicks(pid)
	}
	return time.Duration(t.Nano()), nil
}

// cpuInTicks returns the same from /proc, in steps of 10 ms.
func cpuInTicks(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses, which may contain anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is too short")
	}
	var ticks int
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100, nil // USER_HZ
}

// rssOf returns the resident memory of a process in bytes.
func rssOf(pid int) (int64, error) {
	if n, err := procField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Rss:"); err == nil {
		return n, nil
	}
	return procField(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
}

// peakOf returns the peak of rssOf.
func peakOf(pid int) (int64, error) {
	return procField(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:")
}

// procField parses a line such as "VmRSS:  12 kB" and returns bytes.
func procField(path, name string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in %s", name, path)
}

// fdsOf returns the number of open descriptors of a process.
func fdsOf(pid int) (int, error) {
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(all), err
}
