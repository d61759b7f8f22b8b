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

// Browse opens a page in Chromium, either $CHROMIUM or one in $PATH. It passes each line
// that the browser logs, including the page's console output, to enough, and returns when
// that reports true. It skips the test if there is no browser.
func Browse(tb testing.TB, url string, enough func(line string) bool) {
	tb.Helper()
	browser := ""
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && browser == "" {
			browser = path
		}
	}
	if browser == "" {
		tb.Skip("no Chromium found (set CHROMIUM)")
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
		"--allow-loopback-in-peer-connection",           // for machines without a network
		"--disable-features=WebRtcHideLocalIpsWithMdns", // mDNS names that only a local network could resolve
		"--user-data-dir="+profile, "--enable-logging=stderr", url)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel() // ends the browser's processes too
	var log strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		fmt.Fprintln(&log, lines.Text())
		if enough(lines.Text()) {
			return
		}
	}
	tb.Errorf("the browser exited: %s", log.String())
}
