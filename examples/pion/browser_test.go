package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The page of the other example calls this program.
func TestBrowser(t *testing.T) {
	url, _ := serve(t)
	browse(t, url+"/plain/#call=echo", func(line string) bool {
		return strings.Contains(line, `"They: Hello!"`)
	})
}

// browse opens a page and reads what it writes to its console until that is enough.
func browse(t *testing.T, url string, enough func(line string) bool) {
	t.Helper()
	browser := os.Getenv("CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && browser == "" {
			browser = path
		}
	}
	if browser == "" {
		t.Skip("there is no browser here")
	}
	profile, err := os.MkdirTemp("", "inbox-example-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(profile)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // far more than it needs
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu",
		"--no-first-run", "--disable-background-networking", "--disable-extensions",
		"--allow-loopback-in-peer-connection",           // on a machine without a network
		"--disable-features=WebRtcHideLocalIpsWithMdns", // names that only a local network could resolve
		"--user-data-dir="+profile, "--enable-logging=stderr", url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // its children too
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	var log strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		fmt.Fprintln(&log, lines.Text())
		if enough(lines.Text()) {
			return
		}
	}
	t.Errorf("the browser has ended: %s", log.String())
}
