//go:build !linux

package park

import (
	"net"
	"time"
)

// A Pace has nothing to do here.
type Pace struct{}

// Step is how many bytes to read at a time.
func (*Pace) Step() int { return 8 << 10 }

// AwaitBytes knows no way to wait here.
func AwaitBytes(net.Conn, int, int, *Pace, time.Time) bool { return false }

// Await knows no way to wait here.
func (s *Spot) Await(int, int, *Pace, time.Time) bool { return false }
