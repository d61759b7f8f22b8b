package park

import (
	"io"
	"os"
	"runtime"
	"syscall"
)

// poller is an epoll instance. It is edge-triggered (EPOLLET), so that watching takes one
// system call per connection.
type poller struct {
	fd   int
	file *os.File // the instance, watched by Go's own poller, so that no thread blocks in it
	raw  syscall.RawConn
	post func(id uint64, e Events)
	done chan struct{}
}

const edgeTriggered = 1 << 31 // syscall.EPOLLET is negative

func newPoller(post func(id uint64, e Events)) (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll"), post: post, done: make(chan struct{})}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	go p.run()
	return p, nil
}

func (p *poller) close() error {
	err := p.file.Close()
	<-p.done
	return err
}

func (p *poller) run() {
	defer close(p.done)
	events := make([]syscall.EpollEvent, 128)
	for {
		n := 0
		err := p.raw.Read(func(fd uintptr) (ready bool) {
			var err error
			n, err = syscall.EpollWait(int(fd), events, 0)
			return n > 0 || (err != nil && err != syscall.EINTR)
		})
		if err != nil || n < 0 {
			return // closed
		}
		for _, e := range events[:n] {
			p.post(uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32, translate(e.Events))
		}
		// Yield, so that a few goroutines serve thousands of clients that leave together.
		// The memory of a goroutine's stack is never returned.
		runtime.Gosched()
	}
}

func translate(bits uint32) (e Events) {
	if bits&syscall.EPOLLIN != 0 {
		e |= Readable | canRead
	}
	if bits&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		e |= Gone | canRead
	}
	if bits&(syscall.EPOLLOUT|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		e |= canWrite
	}
	return e
}

// watch replaces the events that are reported for fd.
func (p *poller) watch(fd int, id uint64, e Events, before bool) error {
	// HUP and ERR are always reported.
	event := syscall.EpollEvent{Events: syscall.EPOLLRDHUP | edgeTriggered, Fd: int32(uint32(id)), Pad: int32(id >> 32)}
	if e&Readable != 0 {
		event.Events |= syscall.EPOLLIN
	}
	if e&canWrite != 0 {
		event.Events |= syscall.EPOLLOUT
	}
	op := syscall.EPOLL_CTL_ADD
	if before {
		op = syscall.EPOLL_CTL_MOD
	}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.fd, op, fd, &event))
}

func (p *poller) forget(fd int) {
	_ = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_DEL, fd, nil) // cannot fail: fd was added
}

func dupFD(fd int) (int, error) {
	n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return 0, os.NewSyscallError("fcntl", errno)
	}
	return int(n), nil
}

func closeFD(fd int) { syscall.Close(fd) }

func shutdownFD(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_WR) }

// readFD reads once without blocking.
func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, ErrNothing
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// writeFD writes as much as there is room for, possibly nothing, without blocking.
func writeFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, os.NewSyscallError("write", err)
		}
		return n, nil
	}
}
