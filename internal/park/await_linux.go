package park

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bytes that are not read stay in the kernel, which wakes nobody before there are as
// many as were asked for (SO_RCVLOWAT in socket(7)), and makes room for them. So what
// comes slowly takes no memory here. The client fills the window that it was told of;
// only a read tells it of the new room.

// A Pace spaces the reads from a connection whose client may be waiting for room: only
// while more comes is it read from at once. The zero Pace is for a new message.
type Pace struct {
	came  int // of the message, when it was read from last
	pause time.Duration
	step  int
	began bool
}

// Step returns how many bytes make the kernel tell the client of more room when they are
// read: it does so when the room has doubled, or is that of a segment.
func (p *Pace) Step() int { return max(p.step, leastStep) }

// Over loopback segments are as large as the whole window of other networks.
const leastStep, mostStep = 8 << 10, 32 << 10

// Of the waits for a client that sends nothing more, the first and the longest.
const firstPause, lastPause = time.Second, 4 * time.Second

// first reports whether a first part is to be read at once, though the client need not
// be blocked: the kernel has just made room for a long message, and the sooner it says so
// the better.
func (p *Pace) first(n int) bool {
	begins := !p.began && n > 32<<10
	p.began = true
	return begins
}

// next notes how much has come before a read.
func (p *Pace) next(came int) {
	switch {
	case came > p.came:
		p.pause = 0
	case p.pause == 0:
		p.pause = firstPause
	default:
		p.pause = min(2*p.pause, lastPause)
	}
	p.came = came
}

// AwaitBytes waits until n bytes can be read from c, at most until deadline, and reports
// whether they can; done of the same message were read before. It leaves the deadline
// set. It returns early when the client seems to wait for more room, so that something is
// to be read, when the client has ended, and at once for a connection that is not the
// kernel's, as one with TLS.
func AwaitBytes(c net.Conn, done, n int, p *Pace, deadline time.Time) bool {
	sc, ok := c.(syscall.Conn)
	if !ok || n > mostKept || c.SetReadDeadline(deadline) != nil {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	set := false
	if raw.Control(func(fd uintptr) { set = keep(int(fd), n) == nil }) != nil || !set {
		return false
	}
	if p.first(n) {
		_ = raw.Control(func(fd uintptr) { _ = keep(int(fd), 1) })
		return false
	}
	whole := p.await(done, n, deadline, func(until time.Time) (k kept, err error) {
		c.SetReadDeadline(until)
		first := true
		err = raw.Read(func(fd uintptr) bool {
			k = keptBy(int(fd), n)
			first = !first
			return k.whole || k.ended || first // it waits once
		})
		if err != nil {
			raw.Control(func(fd uintptr) { k = keptBy(int(fd), n) })
		}
		return k, err
	})
	_ = raw.Control(func(fd uintptr) { _ = keep(int(fd), 1) }) // it did not fail before
	c.SetReadDeadline(deadline)
	return whole
}

// Await does so for a parked connection.
func (s *Spot) Await(done, n int, p *Pace, deadline time.Time) bool {
	if s.reader != nil || s.secure != nil || n > mostKept || keep(s.fd, n) != nil {
		return false
	}
	if p.first(n) {
		return keep(s.fd, 1) != nil // which has not failed before
	}
	defer keep(s.fd, 1)
	return p.await(done, n, deadline, func(until time.Time) (kept, error) {
		s.state.And(^uint32(canRead)) // the next line sees what has come so far
		if k := keptBy(s.fd, n); k.whole || k.ended {
			return k, nil
		}
		err := s.await(Readable, canRead, until)
		return keptBy(s.fd, n), err
	})
}

// await calls wait, which waits until something has come or until a time.
func (p *Pace) await(done, n int, deadline time.Time, wait func(until time.Time) (kept, error)) (whole bool) {
	begun := time.Now()
	for again := 50 * time.Millisecond; ; {
		until := time.Now().Add(again)
		if least := begun.Add(p.pause); until.Before(least) {
			until = least
		}
		if deadline.Before(until) {
			until = deadline
		}
		k, err := wait(until)
		late := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case k.whole:
			return true
		case k.ended, err != nil && !late, late && until == deadline:
			return false
		case k.blocked && time.Since(begun) >= p.pause:
			p.next(done + k.bytes)
			p.step = min(k.segment, mostStep)
			return false
		case late:
			again *= 2
		}
	}
}

// mostKept is for how much the kernel makes room unless it was told otherwise (tcp_rmem
// in tcp(7)).
const mostKept = 1 << 20

func keep(fd, n int) error {
	if n > leastStep {
		// The room is for so much, but segments take more than their bytes, and the client is
		// told of less, in units of its own.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n+n/2+leastStep); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n)
}

// kept is what the kernel has of a message.
type kept struct {
	bytes   int
	whole   bool // all that is asked for
	ended   bool // nothing more comes, or nobody knows
	blocked bool // the client was told of less room than one segment takes
	segment int
}

// keptBy asks the kernel. Linux before 6.2 does not tell of the window: then a client
// always seems to be blocked.
func keptBy(fd, n int) kept {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return kept{ended: true}
	}
	have, err := unix.IoctlGetInt(fd, unix.TIOCINQ) // after the window, which is smaller then
	const established = 1                           // include/net/tcp_states.h
	return kept{
		bytes: have, whole: err == nil && have >= n, ended: err != nil || info.State != established,
		blocked: int64(info.Rcv_wnd) < min(int64(n-have), int64(info.Rcv_mss)), segment: int(info.Rcv_mss),
	}
}
