//go:build !unix

package relay

import "syscall"

func setSendBuffer(syscall.RawConn, int) {}
