package acmetest

import "syscall"

// endWithUs makes the kernel kill the server if the test is killed.
func endWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
