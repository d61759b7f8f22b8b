package park

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A slow message waits in the kernel instead of in the process. With SO_RCVLOWAT
// (socket(7)), the kernel makes room for the requested number of bytes and reports the
// connection as readable only when they have arrived. The client first fills the window
// that the kernel has announced. The kernel announces more room only after a read.

// A Pace decides when to read from a connection whose client may be blocked because it
// does not know of the new room. While more bytes arrive, such reads are immediate;
// otherwise they are spaced. The zero Pace is for a new message.
type Pace struct {
	came  int // bytes of the message at the last read
	pause time.Duration
	step  int
	began bool
}

// Step returns how many bytes to read so that the kernel announces more room to the
// client. It does so when the free room has doubled or is one segment.
func (p *Pace) Step() int { return max(p.step, leastStep) }

// Segments over loopback are as large as the whole window of other networks, hence the
// upper bound.
const leastStep, mostStep = 8 << 10, 32 << 10

// Shortest and longest pause between reads while no more bytes arrive.
const firstPause, lastPause = time.Second, 4 * time.Second

// first reports whether to read a first part immediately, even though the client may not
// be blocked. The kernel has just made room for a long message, and an early read
// announces it early.
func (p *Pace) first(n int) bool {
	begins := !p.began && n > 32<<10
	p.began = true
	return begins
}

// next records how many bytes have arrived before a read.
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
// whether they can. done bytes of the same message were read before. It returns false
// early if the client seems to wait for room, so that the caller should read a part, or
// if the client has closed the connection. It returns false immediately if c is not the
// kernel's connection (for example over TLS). The read deadline of c stays set to
// deadline.
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
	if raw.Control(func(fd uintptr) { set = setLowWater(int(fd), n) == nil }) != nil || !set {
		return false
	}
	if p.first(n) {
		_ = raw.Control(func(fd uintptr) { _ = setLowWater(int(fd), 1) })
		return false
	}
	whole := p.await(done, n, deadline, func(until time.Time) (k kept, err error) {
		c.SetReadDeadline(until)
		first := true
		err = raw.Read(func(fd uintptr) bool {
			k = keptBy(int(fd), n)
			first = !first
			return k.whole || k.ended || first // wait once
		})
		if err != nil {
			raw.Control(func(fd uintptr) { k = keptBy(int(fd), n) })
		}
		return k, err
	})
	_ = raw.Control(func(fd uintptr) { _ = setLowWater(int(fd), 1) }) // it succeeded before
	c.SetReadDeadline(deadline)
	return whole
}

// Await is AwaitBytes for a parked connection.
func (s *Spot) Await(done, n int, p *Pace, deadline time.Time) bool {
	if s.reader != nil || s.secure != nil || n > mostKept || setLowWater(s.fd, n) != nil {
		return false
	}
	if p.first(n) {
		return setLowWater(s.fd, 1) != nil // it succeeded before
	}
	defer setLowWater(s.fd, 1)
	return p.await(done, n, deadline, func(until time.Time) (kept, error) {
		s.state.And(^uint32(canRead)) // the next line sees everything that has arrived before
		if k := keptBy(s.fd, n); k.whole || k.ended {
			return k, nil
		}
		err := s.await(Readable, canRead, until)
		return keptBy(s.fd, n), err
	})
}

// await implements AwaitBytes and Await. wait blocks until bytes have arrived or the time
// has come.
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

// mostKept is the most room that the kernel provides by default, in bytes (tcp_rmem in
// tcp(7)).
const mostKept = 1 << 20

func setLowWater(fd, n int) error {
	if n > leastStep {
		// The kernel makes room for this many bytes, but segments use more than their
		// payload, and the window is announced in coarser units.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n+n/2+leastStep); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n)
}

// kept is the state of a message in the kernel.
type kept struct {
	bytes   int
	whole   bool // all n bytes have arrived
	ended   bool // no more bytes will arrive, or the state is unknown
	blocked bool // the announced window is smaller than a segment
	segment int
}

// keptBy queries the kernel. Before Linux 6.2 the kernel does not report the window; then
// every client seems to be blocked.
func keptBy(fd, n int) kept {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return kept{ended: true}
	}
	have, err := unix.IoctlGetInt(fd, unix.TIOCINQ) // query after the window, which is smaller by then
	const established = 1                           // include/net/tcp_states.h
	return kept{
		bytes: have, whole: err == nil && have >= n, ended: err != nil || info.State != established,
		blocked: int64(info.Rcv_wnd) < min(int64(n-have), int64(info.Rcv_mss)), segment: int(info.Rcv_mss),
	}
}
