package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// listenUnix listens on a Unix socket. It removes one on which nobody listens any more:
// a server that was killed leaves it. A path that begins with @ is in Linux's abstract
// namespace, without a file.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	address := &net.UnixAddr{Name: path, Net: "unix"}
	ln, err := net.ListenUnix("unix", address)
	if errors.Is(err, syscall.EADDRINUSE) && !strings.HasPrefix(path, "@") {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		ln, err = net.ListenUnix("unix", address)
	}
	if err != nil || strings.HasPrefix(path, "@") {
		return ln, err
	}
	ln.SetUnlinkOnClose(false) // see Close
	if err = os.Chmod(path, mode); err == nil {
		var made fs.FileInfo
		if made, err = os.Lstat(path); err == nil {
			return &unixListener{UnixListener: ln, path: path, made: made}, nil
		}
	}
	ln.Close()
	os.Remove(path)
	return nil, err
}

// removeStale removes a socket on which nobody listens. The error of one that is in use
// is EADDRINUSE.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) { // its owner has removed it
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is no socket: move it away, or give another --listen", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return syscall.EADDRINUSE // or it cannot be told
	}
	return os.Remove(path)
}

// unixListener removes its socket at the end, unless another server has put its own there.
type unixListener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
	once sync.Once
}

func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.made) {
			os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}

// mode is permissions of a file, in octal.
type mode fs.FileMode

func (m *mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 || n&0o200 == 0 {
		return errors.New("permissions are octal, as in 0660, with at least 0200")
	}
	*m = mode(n)
	return nil
}
