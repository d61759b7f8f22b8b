package server

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"inbox/internal/meter"
	"inbox/internal/park"
	"inbox/internal/throttle"
)

const (
	// minReserve and maxReserve bound how many descriptors are reserved for everything
	// except connections: Redis, its nodes and their discovery; the snapshot; the
	// certificate; and the duplicates that parking needs for a moment.
	minReserve = 32 + park.MaxSpare
	maxReserve = 256

	// resumeAfter is how often a paused listener checks whether it can accept again.
	resumeAfter = 20 * time.Millisecond
)

// reserveOf returns how many of limit descriptors to reserve: a sixteenth, within bounds,
// and at most half.
func reserveOf(limit int) int {
	return min(max(limit/16, minReserve), maxReserve, limit/2)
}

// Reserve returns a listener that accepts connections from ln only while a reserve of
// descriptors is free. Further connections wait in the kernel's backlog. While it does
// not accept, it logs a warning once a second.
func Reserve(ln net.Listener, log *slog.Logger) net.Listener {
	return reserve(ln, log, 0, nil, nil)
}

// reserve also pauses while most connections are open; 0 means no limit.
func reserve(ln net.Listener, log *slog.Logger, most int, open *atomic.Int64, refusals *meter.Refusals) net.Listener {
	r := &reserving{Listener: ln, log: log, most: most, open: open, refused: refusals, closed: make(chan struct{})}
	if raw, ok := ln.(syscall.Conn); ok {
		control, err := raw.SyscallConn()
		if err == nil {
			if _, limit := lowestFree(control); limit > 0 { // otherwise descriptors cannot be counted
				r.control = control
			}
		}
	}
	if r.control == nil && most == 0 {
		return ln
	}
	return r
}

type reserving struct {
	net.Listener
	log     *slog.Logger
	most    int                 // connections; 0 for no limit
	open    *atomic.Int64       // nil if most is 0
	refused *meter.Refusals     // counts the seconds without an accept
	control syscall.RawConn     // nil if there are no descriptors to reserve
	full    throttle.EachSecond // throttles the warning
	closed  chan struct{}
	once    sync.Once
}

func (r *reserving) Accept() (net.Conn, error) {
	for {
		why := r.isFull()
		if why == "" {
			return r.Listener.Accept()
		}
		if r.full.Allow() {
			r.log.Warn(why)
			r.refused.Add(meter.ServerConnections, netip.Addr{})
		}
		select {
		case <-time.After(resumeAfter):
		case <-r.closed:
			return nil, net.ErrClosed
		}
	}
}

// isFull returns the reason why no connection is accepted, or "". The kernel assigns the
// lowest free descriptor: if that is n, at least n are open.
func (r *reserving) isFull() (why string) {
	if r.most > 0 && r.open.Load() >= int64(r.most) {
		return fmt.Sprintf("reached --max-connections %d: new connections wait until others end", r.most)
	}
	if r.control == nil {
		return ""
	}
	free, limit := lowestFree(r.control)
	if reserve := reserveOf(limit); free >= limit-reserve {
		return fmt.Sprintf("out of file descriptors: new connections wait until others end (raise the limit of %d, which includes a reserve of %d: ulimit -n, LimitNOFILE)",
			limit, reserve)
	}
	return ""
}

func (r *reserving) Close() error {
	r.once.Do(func() { close(r.closed) })
	return r.Listener.Close()
}
