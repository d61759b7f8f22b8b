package inboxtest

import (
	"os"
	"testing"
	"time"
)

// longest is how long a condition may take to come true. It is far more than
// any of them needs: it ends tests that would otherwise hang.
const longest = 2 * time.Minute

// Until waits for something that another process, or the kernel, brings about.
func Until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(longest); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("after %v still not so: %s", longest, what)
		}
	}
}

// Descriptors is how many files and sockets this process holds open, or 0 where
// nobody can tell.
func Descriptors() int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(open)
}
