//go:build !linux

package server

import "syscall"

func lowestFree(syscall.RawConn) (free, limit int) { return 0, 0 }
