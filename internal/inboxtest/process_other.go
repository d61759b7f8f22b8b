//go:build !linux

package inboxtest

import "syscall"

// EndWithUs has no effect on this system.
func EndWithUs() *syscall.SysProcAttr { return nil }
