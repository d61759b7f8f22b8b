//go:build !linux

package park

// poller is a stub: on this system, goroutines read the connections.
type poller struct{}

func newPoller(func(uint64, Events)) (*poller, error) { return nil, nil }
func (*poller) close() error                          { return nil }
func (*poller) watch(int, uint64, Events, bool) error { return nil }
func (*poller) forget(int)                            {}
func dupFD(fd int) (int, error)                       { return fd, nil }
func closeFD(int)                                     {}
func shutdownFD(int) error                            { return nil }
func readFD(int, []byte) (int, error)                 { return 0, ErrNothing }
func writeFD(int, []byte) (int, error)                { return 0, nil }
