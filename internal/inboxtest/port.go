package inboxtest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// claimed has the ports that FreePort has returned.
var claimed sync.Map

// FreePort returns a random port from low to high-1 for which ok is true. It returns each port
// only once per process. Ports below 32768 are not in the range that the system gives to
// clients.
func FreePort(tb testing.TB, low, high int, ok func(port int) bool) int {
	tb.Helper()
	for range 1000 {
		port := low + rand.IntN(high-low)
		if _, taken := claimed.LoadOrStore(port, true); !taken && ok(port) {
			return port
		}
	}
	tb.Fatal("found no free port")
	return 0
}

// IsFree reports whether no process listens on a TCP port of a host.
func IsFree(host string, port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	ln.Close()
	return true
}
