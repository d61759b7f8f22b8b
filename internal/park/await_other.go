//go:build !linux

package park

import (
	"net"
	"time"
)

// A Pace is unused on this system.
type Pace struct{}

// Step returns how many bytes to read at a time.
func (*Pace) Step() int { return 8 << 10 }

// AwaitBytes is not supported on this system.
func AwaitBytes(net.Conn, int, int, *Pace, time.Time) bool { return false }

// Await is not supported on this system.
func (s *Spot) Await(int, int, *Pace, time.Time) bool { return false }
