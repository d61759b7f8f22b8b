package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// process starts the program as a separate process and captures its log.
func process(t *testing.T, flags ...string) (*exec.Cmd, *running) {
	t.Helper()
	if !strings.Contains(strings.Join(flags, " "), "--listen") {
		flags = append(flags, "--listen=127.0.0.1:0")
	}
	cmd := exec.Command("inbox", append([]string{"serve", "--turn-listen=127.0.0.1:0"}, flags...)...)
	return cmd, started(t, cmd)
}

// begun starts a server as a process that ends with the test.
func begun(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{log: &lines{changed: make(chan struct{}, 1)}}
	cmd.Stderr = r.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return r
}

// started does the same as begun and reads the server's URL from the log.
func started(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := begun(t, cmd)
	r.url = strings.TrimSuffix(r.log.await(t, `msg=listening url=([^\s"]+)`), "/")
	return r
}

// The first signal starts draining, and the second ends the process immediately, however
// long draining would take. An interrupt closes the port immediately, so only clients
// that are already connected are waited for.
func TestSecondSignal(t *testing.T) {
	for _, first := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(first.String(), func(t *testing.T) {
			cmd, r := process(t, "--drain=10m")
			held, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			// A body that never ends, in a request that has arrived.
			fmt.Fprintf(held, "POST /inbox?to=x HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YTph\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
			if _, err := io.ReadFull(held, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			cmd.Process.Signal(first)
			r.log.await(t, "msg=draining")
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			if first == syscall.SIGTERM {
				inboxtest.Until(t, "it is not ready any more", func() bool {
					res, _ := get(t, client, r.url+"/readyz", "", "")
					return res.StatusCode == http.StatusServiceUnavailable
				})
				if res, _ := get(t, client, r.url+"/healthz", "", ""); res.StatusCode != http.StatusOK {
					t.Errorf("healthz: %s", res.Status)
				}
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			for over := false; !over; { // retry until it has taken effect
				cmd.Process.Signal(syscall.SIGTERM)
				select {
				case err = <-ended:
					over = true
				case <-time.After(100 * time.Millisecond):
				}
			}
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("exited with %v", exit)
			}
		})
	}
}

// A new server takes over the address and the snapshot of a server that is about to stop
// only a moment ago.
func TestStartWhileAnotherStops(t *testing.T) {
	snapshot := filepath.Join(t.TempDir(), "inboxes.snapshot")
	old, r := process(t, "--drain=2s", "--snapshot="+snapshot)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get(t, client, r.url+"/inbox?wait=0", "alice", "a")
	old.Process.Signal(syscall.SIGTERM)
	_, next := process(t, "--drain=10m", "--snapshot="+snapshot, "--listen="+strings.TrimPrefix(r.url, "http://"))
	if next.url != r.url {
		t.Errorf("it listens at %s, want %s", next.url, r.url)
	}
	if text := next.log.String(); !strings.Contains(text, "msg=\"snapshot read\" inboxes=1") {
		t.Errorf("it did not load the snapshot of the previous server:\n%s", text)
	}
	if err := old.Wait(); err != nil {
		t.Error(err)
	}
}

// Only one server at a time can use a snapshot.
func TestSnapshotIsLocked(t *testing.T) {
	snapshot := filepath.Join(t.TempDir(), "inboxes.snapshot")
	process(t, "--snapshot="+snapshot)
	var out, errs strings.Builder
	code := run([]string{"serve", "--listen=127.0.0.1:0", "--drain=0s", "--snapshot=" + snapshot}, &out, &errs)
	if code != 1 || !strings.Contains(errs.String(), "is in use by another server") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// A message reaches a waiting poll, and SIGTERM then ends the server with exit code 0.
func TestGracefulStop(t *testing.T) {
	cmd, r := process(t, "--drain=1s")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	waiting := make(chan int, 1)
	go func() {
		req, _ := http.NewRequest(http.MethodGet, r.url+"/inbox", nil)
		req.SetBasicAuth("alice", "a")
		res, err := client.Do(req)
		if err != nil {
			waiting <- 0
			return
		}
		res.Body.Close()
		waiting <- res.StatusCode
	}()
	// The send succeeds as soon as alice has an inbox.
	for status := 0; status != http.StatusOK; {
		req, _ := http.NewRequest(http.MethodPost, r.url+"/inbox?to=alice", nil)
		req.SetBasicAuth("bob", "b")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		status = res.StatusCode
	}
	if got := <-waiting; got != http.StatusOK {
		t.Errorf("alice got %d", got)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("exited with %v:\n%s", err, r.log)
	}
}

// If the reader of the log is gone, the server continues and stops gracefully.
func TestClosedLog(t *testing.T) {
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	cmd := exec.Command("inbox", "serve", "--listen=127.0.0.1:0", "--turn-listen=127.0.0.1:0", "--log-level=debug", "--drain=0s", "--snapshot="+snapshot)
	cmd.Env = append(os.Environ(), quickEnd)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	url := ""
	for lines := bufio.NewScanner(stderr); url == "" && lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			url = strings.TrimSuffix(m[1], "/")
		}
	}
	stderr.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 3 {
		if res, _ := get(t, client, url+"/inbox?wait=0", "alice", "a"); res.StatusCode != http.StatusNoContent {
			t.Error(res.Status)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if state, err := cmd.Process.Wait(); err != nil || state.ExitCode() != 0 {
		t.Errorf("exited with %v, %v", state, err)
	}
	if _, err := os.Stat(snapshot); err != nil {
		t.Error(err)
	}
}

// No path lists a directory or serves a file that is not a page.
func TestNoFilesAreListed(t *testing.T) {
	r := serve(t, "--drain=0s")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for _, path := range []string{
		"/assets", "/assets/", "/demo/", "/dist/", "/sdk/", "/web.go", "/go.mod", "/.git/config", "/.npmrc", "/package.json", "/e2e/", "/node_modules/",
		"/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "/assets/..%5c..%5cweb.go", "//etc/passwd", "/assets/%00", "/index.html/",
	} {
		res, body := get(t, client, r.url+path, "", "")
		if res.StatusCode < 300 || strings.Contains(body, "<pre>") {
			t.Errorf("%s: %s\n%.200s", path, res.Status, body)
		}
	}
	r.end(t)
}
