package inboxhttp_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"inbox/internal/inboxtest"
	"inbox/internal/park"
)

// rawClient is a connection on which a test controls every byte and the end.
type rawClient struct {
	*server
	net.Conn
	r *bufio.Reader
}

func (s *server) rawClient() *rawClient {
	s.Helper()
	c := s.raw()
	return &rawClient{s, c, bufio.NewReader(c)}
}

// ask writes a GET. more contains further header lines, each ending in CRLF.
func (c *rawClient) ask(id, query, more string) {
	c.Helper()
	c.write(fmt.Sprintf("GET /inbox%s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s\r\n",
		query, basic(id+":"+passwordOf(id)), more))
}

func (c *rawClient) write(bytes string) {
	c.Helper()
	if _, err := io.WriteString(c.Conn, bytes); err != nil {
		c.Fatal(err)
	}
}

func (c *rawClient) answer(method string) answer {
	c.Helper()
	return c.readAnswer(c.r, method)
}

// wait sends a GET and returns when the client waits at its inbox, parked if requested.
// more contains further header lines.
func (c *rawClient) wait(id, query string, parked bool, more ...string) {
	c.Helper()
	receivers, before := c.store.receivers(id), c.parked.Load()
	c.ask(id, query, strings.Join(more, ""))
	c.store.untilReceivers(id, receivers+1, nil)
	if parked {
		inboxtest.Until(c, "the connection is parked", func() bool { return c.parked.Load() > before || c.inside.Load() == 0 })
	}
}

// kernel returns the connection below TLS.
func (c *rawClient) kernel() park.Kernel {
	if t, ok := c.Conn.(*tls.Conn); ok {
		return t.NetConn().(park.Kernel)
	}
	return c.Conn.(park.Kernel)
}

func (c *rawClient) isLocal() bool {
	_, local := c.kernel().(*net.UnixConn)
	return local
}

func (c *rawClient) tcp() *net.TCPConn { return c.kernel().(*net.TCPConn) }

// untilArrived waits until there is something to read, without reading it.
func (c *rawClient) untilArrived() {
	c.Helper()
	raw, err := c.kernel().SyscallConn()
	if err != nil {
		c.Fatal(err)
	}
	if err := raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return n > 0 || err != syscall.EAGAIN
	}); err != nil {
		c.Error(err)
	}
}

// untilKnown waits until the kernel of the server knows that the client has left.
// That can take a moment on a busy machine, and it reads a table of all connections.
func (c *rawClient) untilKnown() {
	c.Helper()
	if c.isLocal() {
		return // known immediately
	}
	port := func(a net.Addr) string { return fmt.Sprintf(":%04X", a.(*net.TCPAddr).Port) }
	client, server := port(c.tcp().LocalAddr()), port(c.tcp().RemoteAddr())
	const established = "01"
	inboxtest.Until(c, "the server's end has seen it", func() bool {
		table, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			return true // the connection is gone
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line) // number, local address, remote address, state
			if strings.HasSuffix(f[1], server) && strings.HasSuffix(f[2], client) && f[3] == established {
				return false
			}
		}
		return true
	})
}

// leavings are the ways in which a client can leave. Each ends the connection even while
// another test starts a process: see [inboxtest.Prompt].
var leavings = []struct {
	name  string
	leave func(c *rawClient)
}{
	{"closes", func(c *rawClient) { inboxtest.Prompt(c.kernel()).Close() }},
	{"resets", func(c *rawClient) { c.reset() }},
	{"half-closes", func(c *rawClient) { c.kernel().CloseWrite() }},
}

// reset closes the connection with a reset, where the transport has one.
func (c *rawClient) reset() {
	c.Helper()
	tcp, ok := c.kernel().(*net.TCPConn)
	if !ok {
		inboxtest.Prompt(c.kernel()).Close()
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		c.Fatal(err)
	}
	var nowhere [16]byte // a socket address of the family AF_UNSPEC: the kernel disconnects
	raw.Control(func(fd uintptr) {
		tcp.SetLinger(0)
		syscall.Syscall(syscall.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nowhere)), uintptr(len(nowhere)))
	})
	tcp.Close()
}

// closeUnread closes the connection although there are unread bytes, and returns when the
// server's kernel knows that they were not read.
func (c *rawClient) closeUnread() {
	c.Helper()
	local, ok := c.kernel().(*net.UnixConn)
	if !ok {
		c.kernel().Close()
		c.untilKnown()
		return
	}
	raw, err := local.SyscallConn()
	if err != nil {
		c.Fatal(err)
	}
	var stat syscall.Stat_t
	raw.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), &stat) })
	local.Close()
	if err != nil {
		return // it was closed before
	}
	inode := strconv.FormatUint(stat.Ino, 10)
	inboxtest.Until(c, "the kernel has closed the client's end", func() bool {
		table, err := os.ReadFile("/proc/net/unix")
		return err != nil || !slices.Contains(strings.Fields(string(table)), inode)
	})
}

// noLeaks fails the test unless there are no more goroutines and descriptors after f than
// before. It cannot run in parallel with other tests.
func noLeaks(t testing.TB, f func()) {
	t.Helper()
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		ln.Close() // the first listener starts the runtime's poller, which stays
	}
	goroutines, descriptors := runtime.NumGoroutine(), inboxtest.Descriptors()
	f()
	inboxtest.Until(t, "every goroutine has ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	inboxtest.Until(t, "every descriptor is closed", func() bool { return inboxtest.Descriptors() <= descriptors })
}

// noLeaks is noLeaks for what comes and goes at one server. Two servers reconnect to
// Redis at will, so theirs are only checked when they have ended.
func (s *server) noLeaks(f func()) {
	s.Helper()
	if s.redis != nil {
		f()
		return
	}
	noLeaks(s, f)
}

// plain formats a whole request.
func plain(method, query, id, body string) string {
	length := ""
	if method == http.MethodPost {
		length = fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return fmt.Sprintf("%s /inbox%s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s\r\n%s",
		method, query, basic(id+":"+passwordOf(id)), length, body)
}
