package inboxtest

import (
	"os"
	"testing"
	"time"
)

// longest bounds the wait for a condition, so that a failing test ends. It is far more
// than any condition needs.
const longest = 2 * time.Minute

// Until polls for a condition that another process or the kernel brings about.
func Until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(longest); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not after %v: %s", longest, what)
		}
	}
}

// Descriptors returns the number of open files and sockets of this process, or 0 where
// that is unknown.
func Descriptors() int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(open)
}
