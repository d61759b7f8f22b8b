package main

import (
	"context"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"inbox/internal/inboxtest"
)

// overUnix returns a client that connects to a Unix socket, whatever the host in a URL.
func overUnix(t *testing.T, path string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// meetThere sends a message from a sender to a waiting receiver, each with its own
// client.
func meetThere(t *testing.T, at string, receiver *http.Client, from string, sender *http.Client) {
	t.Helper()
	get(t, receiver, at+"/inbox?limit=0", "alice", "a") // opens the inbox
	got := make(chan string, 1)
	go func() {
		_, body := get(t, receiver, at+"/inbox?after=0&wait=20", "alice", "a")
		got <- body
	}()
	req, _ := http.NewRequest(http.MethodPost, from+"/inbox?to=alice", strings.NewReader("hello"))
	req.SetBasicAuth("bob", "b")
	res, err := sender.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if body := <-got; res.StatusCode != http.StatusOK || body != "hello" {
		t.Errorf("the sender got %s, the receiver %q", res.Status, body)
	}
}

// One server listens on several addresses of several kinds. Its Unix socket has the
// requested permissions and is removed on exit.
func TestListenOnSeveralAddresses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.sock")
	cmd, r := process(t, "--listen=127.0.0.1:0", "--listen=unix:"+path, "--listen=[::1]:0", "--unix-mode=0600", "--drain=2s")
	r.log.await(t, `msg=listening (unix=`+path+`)`)
	v6 := r.log.await(t, `url=(http://\[::1\]:\d+)`)
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("the socket is %v, %v", info, err)
	}
	local, tcp := overUnix(t, path), new(http.Client)
	defer tcp.CloseIdleConnections()
	meetThere(t, "http://inbox", local, r.url, tcp)
	meetThere(t, r.url, tcp, "http://inbox", local)
	meetThere(t, v6, tcp, r.url, tcp)
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket outlives the server")
	}
}

// A server that was killed leaves its socket behind, and the next server takes the path.
// A server that still listens keeps it.
func TestSocketOfAnotherServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.sock")
	at := []string{"--listen=127.0.0.1:0", "--listen=unix:" + path, "--drain=2s"}
	killed, _ := process(t, at...)
	killed.Process.Kill()
	killed.Wait()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	one, r := process(t, at...)
	var out, errs strings.Builder
	if code := run(append([]string{"serve"}, at...), &out, &errs); code != 1 || !strings.Contains(errs.String(), "cannot listen: unix:"+path+": address already in use") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if res, _ := get(t, overUnix(t, path), "http://inbox/healthz", "", ""); res.StatusCode != http.StatusOK {
		t.Errorf("the first server responds with %s", res.Status)
	}
	// A new server waits for one that is stopping, and takes over.
	one.Process.Signal(syscall.SIGTERM)
	r.log.await(t, "msg=draining")
	two, _ := process(t, at...)
	if err := one.Wait(); err != nil {
		t.Error(err)
	}
	// If the path is removed and another server takes it, the first server leaves it
	// alone.
	os.Remove(path)
	process(t, at...)
	two.Process.Signal(syscall.SIGTERM)
	if err := two.Wait(); err != nil {
		t.Error(err)
	}
	if res, _ := get(t, overUnix(t, path), "http://inbox/healthz", "", ""); res.StatusCode != http.StatusOK {
		t.Errorf("the last server responds with %s", res.Status)
	}
}

// systemd passes sockets, and is notified when the service is ready and when it stops.
// Its sockets remain.
func TestSystemd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "inbox.sock")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	local, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	states, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer states.Close()
	state := func() string {
		b := make([]byte, 100)
		n, err := states.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	cmd := exec.Command("sh", "-c", `export LISTEN_PID=$$ LISTEN_FDS=2; exec inbox serve --listen systemd --drain=0s`)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	for _, ln := range []interface{ File() (*os.File, error) }{tcp.(*net.TCPListener), local.(*net.UnixListener)} {
		f, err := ln.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	r := begun(t, cmd)
	if got := state(); got != "READY=1" {
		t.Fatalf("the first state is %q", got)
	}
	client := new(http.Client)
	defer client.CloseIdleConnections()
	meetThere(t, "http://"+tcp.Addr().String(), client, "http://inbox", overUnix(t, path))
	cmd.Process.Signal(syscall.SIGTERM)
	if got := state(); got != "STOPPING=1" {
		t.Errorf("the last state is %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, r.log)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket of systemd: %v", err)
	}
}

// Hosting platforms set PORT. A flag overrides it.
func TestPort(t *testing.T) {
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	t.Setenv("PORT", port)
	if addresses := new(serveCommand).addresses(); len(addresses) != 1 || addresses[0] != ":"+port {
		t.Errorf("it listens at %v, want :%s", addresses, port)
	}
	r := begun(t, exec.Command("inbox", "serve"))
	r.log.await(t, `msg=listening url=(http://localhost:`+port+`/)`)
	_, other := process(t, "--listen=127.0.0.1:0")
	if strings.HasSuffix(other.url, ":"+port) {
		t.Error("PORT overrides --listen")
	}
	inboxtest.Until(t, "it answers at that port", func() bool {
		res, err := http.Get("http://localhost:" + port + "/healthz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}
