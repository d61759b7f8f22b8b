package park

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// socketState reads the first byte of the kernel's tcp_info: the state of the connection,
// independent of unread bytes.
func socketState(fd int) State {
	const established, closeWait = 1, 8 // include/net/tcp_states.h
	info, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_INFO)
	if err != nil {
		return localState(fd)
	}
	switch byte(info) {
	case established:
		return Open
	case closeWait:
		return Closed
	default:
		return Reset
	}
}

// localState is socketState for a Unix socket. The kernel sets an error if the client has
// closed it with unread bytes.
func localState(fd int) State {
	look := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if _, err := unix.Poll(look, 0); err != nil {
		return Open // interrupted: unknown
	}
	switch events := look[0].Revents; {
	case events&(unix.POLLERR|unix.POLLNVAL) != 0:
		return Reset
	case events&(unix.POLLHUP|unix.POLLRDHUP) != 0:
		return Closed
	}
	return Open
}
