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

// listenUnix listens on a Unix socket. It first removes a stale one that a killed server
// has left behind. A path that starts with @ is in Linux's abstract namespace and has no
// file.
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

// removeStale removes a socket on which no process listens. If the socket is in use, it
// returns EADDRINUSE.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) { // its owner removed it
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is not a socket (move it away, or change --listen)", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return syscall.EADDRINUSE // in use, or unknown
	}
	return os.Remove(path)
}

// unixListener removes its socket on Close, unless another server has replaced it.
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

// mode is a file mode in octal.
type mode fs.FileMode

func (m *mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 || n&0o200 == 0 {
		return errors.New("invalid permissions, want octal, as in 0660, including 0200")
	}
	*m = mode(n)
	return nil
}
