package server

import "syscall"

// lowestFree returns the number that the next descriptor will get, and how many there
// may be. If there is none left both are the same. Once the listener is closed, the
// number is 0: Accept says so.
func lowestFree(any syscall.RawConn) (free, limit int) {
	var bound syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &bound); err != nil {
		return 0, 0
	}
	const enough = 1 << 30 // of what is unlimited
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
