//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks f. It returns errLocked if another process has the lock.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
