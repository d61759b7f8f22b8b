package inboxtest

import "syscall"

// EndWithUs returns attributes that make the kernel kill a process when the test dies.
func EndWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
