package server

import "syscall"

// lowestFree returns the next descriptor that the kernel will assign and the limit on
// descriptors. If no descriptor is left, both are equal. If the listener is closed, free
// is 0, and Accept returns the error.
func lowestFree(any syscall.RawConn) (free, limit int) {
	var bound syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &bound); err != nil {
		return 0, 0
	}
	const enough = 1 << 30 // stands for unlimited
	limit = int(min(bound.Cur, enough))
	_ = any.Control(func(fd uintptr) {
		n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			free = limit
			return
		}
		free = int(n)
		syscall.Close(free)
	})
	return free, limit
}
