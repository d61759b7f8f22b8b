package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

const (
	deploy  = "../../deploy/"
	compose = deploy + "compose/"
)

// A composeFile is what tests check of a compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Build       string
		Ports       []string
		Command     []string
		Environment map[string]string
		Volumes     []string
		Sysctls     map[string]int
		Healthcheck struct{ Test []string }
	}
	Volumes map[string]any
}

func readCompose(t *testing.T, dir string) (file composeFile) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "compose.yaml"))
	if err == nil {
		err = yaml.Unmarshal(content, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// The variables in the compose file belong to flags, and the files that it mounts exist.
func TestComposeFile(t *testing.T) {
	file := readCompose(t, compose)
	servers := 0
	for name, service := range file.Services {
		for _, volume := range service.Volumes {
			if _, err := os.Stat(filepath.Join(compose, strings.Split(volume, ":")[0])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if service.Build != "" {
			servers++
			checkHealthcheck(t, service.Healthcheck.Test)
			if c := checkSettings(t, service.Environment); !strings.HasPrefix(c.Store, "redis://") {
				t.Errorf("%s: the store is %q", name, c.Store)
			}
			if _, err := os.Stat(filepath.Join(compose, service.Build, "Dockerfile")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if servers != 2 {
		t.Errorf("there are %d servers, want 2", servers)
	}
}

// Peers meet through a real proxy with our configuration, changed only in its addresses.
// They continue when one of the two servers is gone.
func TestProxyInFrontOfTwoServers(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatal("this test needs nginx: apt-get install nginx-light")
	}
	redis := redistest.Start(t)
	flags := append(ofRedis(t, "redis://"+redis.Addr), "--log-level=debug") // a line per request
	gone, one := process(t, flags...)
	_, two := process(t, flags...)
	url := startProxy(t, nginx, one.url, two.url)

	a := newAsker(t, url)
	inboxtest.Until(t, "the proxy passes requests on", func() bool {
		status, _, _ := a.ask(t.Context(), http.MethodGet, "?limit=0", "alice", "", "")
		return status == http.StatusNoContent
	})
	meet := func(round string) {
		for i := range 10 {
			waited := make(chan string, 1)
			id := fmt.Sprint("alice", round, i)
			a.ask(t.Context(), http.MethodGet, "?limit=0", id, "", "")
			go func() {
				status, _, body := a.ask(t.Context(), http.MethodGet, "?after=0", id, "", "")
				waited <- fmt.Sprint(status, " ", body)
			}()
			inboxtest.Until(t, "a message is accepted", func() bool {
				status, _, _ := a.ask(t.Context(), http.MethodPost, "?to="+id, "bob", "k", "hello")
				return status == http.StatusOK
			})
			if got := <-waited; got != "200 hello" {
				t.Errorf("%s, %d: got %q", round, i, got)
			}
		}
	}
	meet("both")
	for _, r := range []*running{one, two} {
		if !strings.Contains(r.log.String(), "route=/inbox") {
			t.Errorf("one of the servers got no requests")
		}
	}
	gone.Process.Kill()
	gone.Wait()
	meet("one")

	// A stream starts immediately: the proxy does not buffer it.
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url+"/inbox?after=0", nil)
	req.SetBasicAuth("carol", "password of carol")
	req.Header.Set("Accept", "text/event-stream")
	resp, err := a.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	begun := make([]byte, 4)
	if n, err := resp.Body.Read(begun); err != nil || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("a stream started with %q %v", begun[:n], err)
	}
	// The same holds for a socket.
	req, _ = http.NewRequestWithContext(ctx, http.MethodGet, url+"/inbox", nil)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "inbox.v1",
	} {
		req.Header.Set(name, value)
	}
	req.SetBasicAuth("dave", "password of dave")
	resp, err = a.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("a socket got %s", resp.Status)
	}
}

// startProxy runs nginx with our configuration, in its own directory.
func startProxy(t *testing.T, nginx string, servers ...string) (url string) {
	t.Helper()
	content, err := os.ReadFile(compose + "nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	dir := t.TempDir()
	change := func(pattern, to string) {
		if !regexp.MustCompile(pattern).Match(content) {
			t.Fatalf("the proxy's configuration does not contain %s", pattern)
		}
		content = regexp.MustCompile(pattern).ReplaceAll(content, []byte(to))
	}
	for i, server := range servers {
		change(fmt.Sprintf(`inbox%d:3000`, i+1), strings.TrimPrefix(server, "http://"))
	}
	change(`listen 8080`, "listen "+addr)
	change(`/tmp/nginx\.pid`, filepath.Join(dir, "pid"))
	change(`/dev/stdout`, filepath.Join(dir, "access.log"))
	change(`worker_processes auto`, "worker_processes 1")
	change(`worker_rlimit_nofile \d+;\n`, "")
	change(`worker_connections \d+`, "worker_connections 512")
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(nginx, "-t", "-p", dir, "-c", conf).CombinedOutput(); err != nil {
		t.Fatalf("nginx rejects the configuration: %v\n%s", err, out)
	}
	var said bytes.Buffer
	cmd := exec.Command(nginx, "-p", dir, "-c", conf, "-g", "daemon off;")
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt) // also ends its workers
		cmd.Wait()
		if t.Failed() {
			t.Logf("nginx said:\n%s", said.String())
		}
	})
	return "http://" + addr
}
