package inboxtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Browse opens a page in Chromium, that of $CHROMIUM or one in $PATH, and reads
// what the browser logs, and with that what the page writes to its console, until it
// is enough. Without a browser the test is skipped.
func Browse(tb testing.TB, url string, enough func(line string) bool) {
	tb.Helper()
	browser := ""
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && browser == "" {
			browser = path
		}
	}
	if browser == "" {
		tb.Skip("there is no browser here")
	}
	profile, err := os.MkdirTemp("", "inbox-example-")
	if err != nil {
		tb.Fatal(err)
	}
	defer os.RemoveAll(profile)
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute) // far more than it needs
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu",
		"--no-first-run", "--disable-background-networking", "--disable-extensions",
		"--allow-loopback-in-peer-connection",           // on a machine without a network
		"--disable-features=WebRtcHideLocalIpsWithMdns", // names that only a local network could resolve
		"--user-data-dir="+profile, "--enable-logging=stderr", url)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel() // its processes end with it
	var log strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		fmt.Fprintln(&log, lines.Text())
		if enough(lines.Text()) {
			return
		}
	}
	tb.Errorf("the browser has ended: %s", log.String())
}
