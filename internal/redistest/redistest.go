// Package redistest starts Redis servers for tests, alone, with Sentinel or as a cluster.
// They listen on free loopback ports, have separate directories and no persistence, and end
// with the test.
package redistest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"inbox/internal/inboxtest"
)

// A Server is a Redis process.
type Server struct {
	Addr string // host:port
	Port int

	tb   testing.TB
	dir  string
	args []string
	tls  *tls.Config // nil without TLS
	cmd  *exec.Cmd
	exit chan struct{} // closed when the process has exited

	mu     sync.Mutex // guards client
	client rueidis.Client
}

// Start starts a server. args are settings of redis.conf, such as "--maxmemory", "1mb".
// With --tls-cert-file, --tls-key-file and --tls-ca-cert-file the server speaks only TLS,
// and the helpers use the same certificate as clients.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := newServer(tb, append([]string{"--save", "", "--appendonly", "no", "--loglevel", "warning"}, args...)...)
	s.launch()
	return s
}

// launch runs the server on a free port. It tries another one if the port was taken in
// the meantime.
func (s *Server) launch(more ...string) {
	s.tb.Helper()
	for range 10 {
		s.Port = freePort(s.tb)
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
		s.run(more...)
		if s.answers() {
			return
		}
		if !strings.Contains(s.log(), "bind: Address already in use") {
			break
		}
	}
	s.tb.Fatalf("redis-server exited, but this test needs it:\n%s", s.log())
}

// answers waits until the server replies or has exited, and reports whether it replies.
func (s *Server) answers() (yes bool) {
	s.tb.Helper()
	inboxtest.Until(s.tb, "redis answers or ends", func() bool {
		select {
		case <-s.exit:
			return true
		default:
			_, err := s.Do("PING")
			yes = err == nil
			return yes
		}
	})
	return yes
}

func (s *Server) log() string {
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(log)
}

func newServer(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := &Server{tb: tb, dir: tb.TempDir(), args: args, tls: tlsOf(tb, args)}
	tb.Cleanup(func() {
		s.mu.Lock()
		if s.client != nil {
			s.client.Close()
		}
		s.mu.Unlock()
		s.Resume()
		s.Kill()
	})
	return s
}

// tlsOf loads the certificate that args name. It returns nil if they name none.
func tlsOf(tb testing.TB, args []string) *tls.Config {
	tb.Helper()
	value := func(name string) string {
		if i := slices.Index(args, name); i >= 0 {
			return args[i+1]
		}
		return ""
	}
	if value("--tls-cert-file") == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(value("--tls-cert-file"), value("--tls-key-file"))
	if err != nil {
		tb.Fatal(err)
	}
	authorities, err := os.ReadFile(value("--tls-ca-cert-file"))
	if err != nil {
		tb.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authorities)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

// URL returns the URL of the server.
func (s *Server) URL() string { return s.scheme() + s.Addr }

func (s *Server) scheme() string {
	if s.tls != nil {
		return "rediss://"
	}
	return "redis://"
}

// Program returns the path of redis-server, or "" if it is not installed. $REDIS_SERVER
// selects another program, such as valkey-server.
func Program() string {
	if path := os.Getenv("REDIS_SERVER"); path != "" {
		return path
	}
	// Debian's redis-tools contains the same program as redis-check-rdb. It acts on the
	// name it is called by.
	for _, name := range []string{"redis-server", "valkey-server", "redis-check-rdb"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func (s *Server) run(more ...string) {
	s.tb.Helper()
	program := Program()
	if program == "" {
		s.tb.Fatal("redis-server is not installed, but this test needs it: apt-get install redis-tools")
	}
	s.cmd = exec.Command(program)
	s.cmd.Args[0] = "redis-server"
	s.cmd.Args = append(s.cmd.Args, more...)
	port := []string{"--port", strconv.Itoa(s.Port)}
	if s.tls != nil {
		port = []string{"--port", "0", "--tls-port", strconv.Itoa(s.Port)}
	}
	s.cmd.Args = append(s.cmd.Args, port...)
	s.cmd.Args = append(s.cmd.Args, "--bind", "127.0.0.1", "--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"))
	s.cmd.Args = append(s.cmd.Args, s.args...)
	s.cmd.SysProcAttr = inboxtest.EndWithUs()
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatalf("cannot start redis-server, which this test needs: %v", err)
	}
	exit := make(chan struct{})
	s.exit = exit
	cmd := s.cmd
	go func() { _ = cmd.Wait(); close(exit) }()
}

// Do runs a command.
func (s *Server) Do(args ...string) (rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		c, err := rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{s.Addr}, TLSConfig: s.tls, ForceSingleClient: true, DisableCache: true, DisableRetry: true,
			PipelineMultiplex: -1, ReadBufferEachConn: 4 << 10, WriteBufferEachConn: 4 << 10,
			Dialer: net.Dialer{Timeout: time.Second}, ConnWriteTimeout: 4 * time.Second,
		})
		if err != nil {
			return rueidis.RedisMessage{}, err
		}
		s.client = c
	}
	return s.client.Do(ctx, s.client.B().Arbitrary(args...).Build()).ToMessage()
}

// Must runs a command and fails the test on an error.
func (s *Server) Must(args ...string) rueidis.RedisMessage {
	s.tb.Helper()
	m, err := s.Do(args...)
	if err != nil {
		s.tb.Fatalf("redis at %s: %v: %v", s.Addr, args, err)
	}
	return m
}

// Text is like Must, for commands that reply with text.
func (s *Server) Text(args ...string) string {
	s.tb.Helper()
	m := s.Must(args...)
	text, err := m.ToString()
	if err != nil {
		s.tb.Fatalf("redis at %s: %v: %v", s.Addr, args, err)
	}
	return text
}

// Kill kills the process immediately, like a crash.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.exit
}

// Pause stops the process. It keeps its connections but does not reply.
func (s *Server) Pause() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume continues a paused process.
func (s *Server) Resume() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
	}
}

// Restart restarts a killed server on the same port, without data.
func (s *Server) Restart() {
	s.tb.Helper()
	s.run()
	if !s.answers() {
		s.tb.Fatalf("redis-server exited, but this test needs it:\n%s", s.log())
	}
}

// freePort returns a port. The port 10000 above it, for the cluster bus, is free too.
func freePort(tb testing.TB) int {
	tb.Helper()
	return inboxtest.FreePort(tb, 11000, 22000, func(port int) bool {
		return inboxtest.IsFree("127.0.0.1", port) && inboxtest.IsFree("127.0.0.1", port+10000)
	})
}
