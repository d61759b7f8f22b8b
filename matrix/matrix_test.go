//go:build linux

package matrix

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// world is a lab with a server whose certificate the peers trust.
type world struct {
	*lab
	authority string        // PEM file
	timeout   time.Duration // how long a call may take to connect
}

// newWorld starts a server with the given flags and those that the lab needs.
func newWorld(t *testing.T, flags ...string) *world {
	t.Helper()
	w := &world{lab: newLab(t), timeout: 30 * time.Second}
	dir := t.TempDir()
	certificate := inboxtest.IssueCertificate(t, serverName)
	w.authority = filepath.Join(dir, "authority.pem")
	cert, key, program := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "inbox")
	for name, data := range map[string][]byte{w.authority: certificate.Authority, cert: certificate.Cert, key: certificate.Key} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", program, "./cmd/inbox")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	arguments := append([]string{"serve", "--listen", ":443", "--tls", "files", "--tls-cert", cert, "--tls-key", key}, flags...)
	w.start("server", "inbox", "listening", program, arguments...)
	return w
}

// start runs a program in a namespace until the test ends. It returns once the program
// has printed ready.
func (w *world) start(namespace, name, ready, program string, arguments ...string) {
	w.Helper()
	c := w.command(namespace, program, arguments...)
	w.background(c, name, ready)
}

func (w *world) background(c *exec.Cmd, name, ready string) {
	w.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		w.Fatal(err)
	}
	c.Stdout, c.Stderr = in, in
	if err := c.Start(); err != nil {
		w.Fatal(err)
	}
	in.Close()
	isReady, ended := make(chan struct{}), make(chan struct{})
	var log strings.Builder
	go func() {
		defer close(ended)
		waiting := true
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(&log, name+":", lines.Text())
			if waiting && strings.Contains(lines.Text(), ready) {
				close(isReady)
				waiting = false
			}
		}
	}()
	w.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(5*time.Second, func() { c.Process.Kill() })
		c.Wait()
		<-ended
		out.Close()
		if w.Failed() {
			w.Log(log.String())
		}
	})
	select {
	case <-isReady:
	case <-ended:
		w.Fatalf("%s exited", name)
	case <-time.After(30 * time.Second):
		w.Fatalf("%s is not ready", name)
	}
}

// A maker returns the command of a peer: a Go program or a browser.
type maker func(w *world, namespace string, c call) *exec.Cmd

// pion runs this test program in a namespace.
func pion(w *world, namespace string, c call) *exec.Cmd {
	text, _ := json.Marshal(c) // cannot fail: strings only
	return w.child(namespace, string(text))
}

// browser runs Node, which controls a browser.
func browser(name string) maker {
	return func(w *world, namespace string, c call) *exec.Cmd {
		text, _ := json.Marshal(struct {
			call
			Browser, URL string
		}{c, name, "https://" + serverName + "/"})
		w.background(w.child(namespace, "names"), "names", "ready")
		if name == "firefox" {
			w.trustInFirefox(namespace)
		}
		return w.command(namespace, "node", "../web/matrix/peer.js", string(text))
	}
}

// trustInFirefox writes a policy that makes Firefox trust our authority. No flag makes it
// trust the certificate of a TURN server.
func (w *world) trustInFirefox(namespace string) {
	w.Helper()
	policy, err := json.Marshal(map[string]any{"policies": map[string]any{"Certificates": map[string]any{"Install": []string{w.authority}}}})
	if err != nil {
		w.Fatal(err)
	}
	const place = "/etc/firefox" // must exist, so that the namespace's directory can be mounted over it
	if err := os.Mkdir(place, 0o755); err == nil {
		w.Cleanup(func() { os.Remove(place) })
	}
	dir := filepath.Join("/etc/netns", w.prefix+namespace, "firefox", "policies")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "policies.json"), policy, 0o644); err != nil {
		w.Fatal(err)
	}
}

func (w *world) child(namespace, what string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	c := w.command(namespace, self)
	c.Env = append(os.Environ(), childVariable+"="+what, "SSL_CERT_FILE="+w.authority)
	return c
}

func (n network) proxyURL() string {
	if !n.proxy {
		return ""
	}
	return "http://" + proxy4 + ":" + proxyPort
}

// connect makes a call from one network to another.
func (w *world) connect(t *testing.T, from, to network, caller, callee maker) outcome {
	t.Helper()
	// Resources of this call end with the call, not with the world.
	in := &world{lab: w.lab.of(t), authority: w.authority}
	callerSite, calleeSite := in.site(from), in.site(to)
	in.background(callee(in, calleeSite, call{ID: calleeSite, Proxy: to.proxyURL()}), "callee", "ready")
	c := caller(in, callerSite, call{ID: callerSite, To: calleeSite, Proxy: from.proxyURL(), Within: w.timeout})
	var log strings.Builder
	c.Stderr = &log
	out, err := c.Output()
	var o outcome
	if jsonErr := json.Unmarshal(out, &o); jsonErr != nil {
		t.Fatalf("%v, %v\n%s", err, jsonErr, log.String())
	}
	if !o.Connected {
		t.Log(log.String())
	}
	return o
}
