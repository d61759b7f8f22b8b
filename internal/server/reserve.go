package server

import (
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"inbox/internal/park"
	"inbox/internal/throttle"
)

const (
	// minReserve and maxReserve bound how many descriptors are kept for everything
	// but connections: to Redis, its nodes and their discovery; the snapshot; the
	// certificate; and the duplicates that parking needs for a moment.
	minReserve = 32 + park.MaxSpare
	maxReserve = 256

	// resumeAfter is how often a listener that has stopped looks whether it can go on.
	resumeAfter = 20 * time.Millisecond
)

// reserveOf returns how many of limit descriptors are kept back: a sixteenth, within
// bounds, and never more than half.
func reserveOf(limit int) int {
	return min(max(limit/16, minReserve), maxReserve, limit/2)
}

// Reserve returns a listener that accepts connections from ln only while a reserve of
// descriptors is free. Others wait in the kernel's backlog. It logs once a second while
// it does not accept. On systems whose descriptors it cannot count it returns ln.
func Reserve(ln net.Listener, log *slog.Logger) net.Listener {
	raw, ok := ln.(syscall.Conn)
	if !ok {
		return ln
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return ln
	}
	if _, limit := lowestFree(control); limit <= 0 {
		return ln
	}
	return &reserving{Listener: ln, control: control, log: log, closed: make(chan struct{})}
}

type reserving struct {
	net.Listener
	control syscall.RawConn
	log     *slog.Logger
	full    throttle.EachSecond // warnings that no connection is accepted
	closed  chan struct{}
	once    sync.Once
}

func (r *reserving) Accept() (net.Conn, error) {
	for !r.hasRoom() {
		if r.full.Allow() {
			_, limit := lowestFree(r.control)
			r.log.Warn("out of file descriptors: new connections wait until others end (raise the limit: ulimit -n, LimitNOFILE)",
				"limit", limit, "reserve", reserveOf(limit))
		}
		select {
		case <-time.After(resumeAfter):
		case <-r.closed:
			return nil, net.ErrClosed
		}
	}
	return r.Listener.Accept()
}

// hasRoom reports whether a connection would leave the reserve untouched. The kernel
// gives out the lowest number that is free: if that is n, at least n descriptors
// are open.
func (r *reserving) hasRoom() bool {
	free, limit := lowestFree(r.control)
	return free < limit-reserveOf(limit)
}

func (r *reserving) Close() error {
	r.once.Do(func() { close(r.closed) })
	return r.Listener.Close()
}
