// Package examples_test runs the examples that are not Go programs; those have
// tests of their own.
package examples_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"inbox"
	"inbox/inboxhttp"
	"inbox/memstore"
)

// serve serves inboxes, and the files beside them.
func serve(t *testing.T) (url string, store *memstore.Store) {
	t.Helper()
	store = memstore.New(inbox.Limits{})
	handler, err := inboxhttp.New(inboxhttp.Config{Store: store, Pepper: inbox.NewPepper([inbox.PepperSize]byte{})})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/inbox", handler)
	mux.Handle("/", http.FileServer(http.Dir(".")))
	mux.HandleFunc("/two", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `<iframe src="/plain/#id=alice"></iframe><iframe src="/plain/#id=bob&call=alice"></iframe>`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, store
}

func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl here")
	}
	url, store := serve(t)
	cmd := exec.CommandContext(t.Context(), "sh", "curl/hello.sh")
	cmd.Env = append(os.Environ(), "INBOX_SERVER="+url+"/inbox")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"body":"hello, Bob"}]`) {
		t.Errorf("error %v: %s", err, out)
	}
	if inboxes, _ := store.Usage(); inboxes != 0 {
		t.Errorf("%d inboxes are left", inboxes)
	}
}

// Two copies of the page meet, in a browser.
func TestPlain(t *testing.T) {
	url, _ := serve(t)
	met := 0
	browse(t, url+"/two", func(line string) bool {
		if strings.Contains(line, `"They: Hello!"`) {
			met++
		}
		return met == 2
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
