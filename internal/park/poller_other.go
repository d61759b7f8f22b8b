//go:build !linux

package park

import "syscall"

// poller stands for one: here, goroutines read.
type poller struct{}

func newPoller(func(uint64, Events)) (*poller, error)       { return nil, nil }
func (*poller) close() error                                { return nil }
func (*poller) watch(syscall.RawConn, uint64, Events) error { return nil }
func (*poller) forget(syscall.RawConn)                      {}
func readFD(uintptr, []byte) (int, error)                   { return 0, ErrNothing }
func writeFD(uintptr, []byte) (int, error)                  { return 0, nil }
