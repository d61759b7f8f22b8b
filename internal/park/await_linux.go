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

// AwaitBytes waits until n bytes can be read from c, at most until deadline, and reports
// whether they can. It leaves the deadline set. It returns early when the client has not
// been told of so much room, so that something is to be read, when the client has ended,
// and at once for a connection that is not the kernel's, as one with TLS.
func AwaitBytes(c net.Conn, n int, deadline time.Time) bool {
	sc, ok := c.(syscall.Conn)
	if !ok || n > mostKept || c.SetReadDeadline(deadline) != nil {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	whole, done, set := false, false, false
	for again := firstAgain; !done; again *= 2 {
		if until := time.Now().Add(again); until.Before(deadline) {
			c.SetReadDeadline(until)
		} else {
			c.SetReadDeadline(deadline)
			done = true // whatever comes of it
		}
		err := raw.Read(func(fd uintptr) bool {
			if !set {
				set = keep(int(fd), n) == nil
			}
			whole, done = awaited(int(fd), n)
			return done || !set
		})
		if !set || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			break // who reads finds out why
		}
	}
	if set {
		_ = raw.Control(func(fd uintptr) { _ = keep(int(fd), 1) }) // it did not fail before
	}
	c.SetReadDeadline(deadline)
	return whole
}

// Await does so for a parked connection.
func (s *Spot) Await(n int, deadline time.Time) bool {
	if s.reader != nil || s.secure != nil || n > mostKept || keep(s.fd, n) != nil {
		return false
	}
	defer keep(s.fd, 1) // which has not failed before
	for again := firstAgain; ; {
		s.state.And(^uint32(canRead)) // the next line sees what has come so far
		if whole, done := awaited(s.fd, n); done {
			return whole
		}
		until := time.Now().Add(again)
		if deadline.Before(until) {
			until = deadline
		}
		if err := s.await(Readable, canRead, until); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) || until == deadline {
				return false
			}
			again *= 2
		}
	}
}

// firstAgain is after what time the window is looked at for the first time: by then the
// kernel has told the client of what is left of it.
const firstAgain = 50 * time.Millisecond

// mostKept is for how much the kernel makes room unless it was told otherwise (tcp_rmem
// in tcp(7)).
const mostKept = 1 << 20

func keep(fd, n int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) }

// awaited reports whether n bytes are there, and whether there is nothing to wait for:
// they are, the client has ended, or it waits itself, because it was told of less room
// than one segment takes. Linux before 6.2 does not tell of the window, and then there
// is never anything to wait for.
func awaited(fd, n int) (whole, done bool) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false, true
	}
	have, err := unix.IoctlGetInt(fd, unix.TIOCINQ) // after the window, which is smaller then
	if err != nil || have >= n {
		return err == nil, true
	}
	const established = 1 // include/net/tcp_states.h
	return false, info.State != established || int64(info.Rcv_wnd) < min(int64(n-have), int64(info.Rcv_mss))
}
