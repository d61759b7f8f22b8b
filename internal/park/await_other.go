//go:build !linux

package park

import (
	"net"
	"time"
)

// AwaitBytes knows no way to wait here.
func AwaitBytes(net.Conn, int, time.Time) bool { return false }

// Await knows no way to wait here.
func (s *Spot) Await(int, time.Time) bool { return false }
