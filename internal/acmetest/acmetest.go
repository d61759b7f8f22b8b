// Package acmetest starts an ACME authority for tests: Pebble, the test server of Let's
// Encrypt, and a DNS server. Both listen on free loopback ports, connect to nothing else,
// and end with the test.
package acmetest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// Config configures an authority.
type Config struct {
	Validity time.Duration // of certificates; 0 means 90 days
	TLSPort  int           // where challenges over TLS connect to; 0 means a free port
	HTTPPort int           // where challenges over HTTP connect to; 0 means a free port
	Blocked  []string      // names that the authority refuses
	DNS      string        // address of the DNS server; "" means a free port
}

// An Authority issues certificates. Its DNS server resolves every name to 127.0.0.1,
// unless changed by Resolve.
type Authority struct {
	Directory string // URL of the directory
	CAFile    string // root of the certificate for its URL
	TLSPort   int
	HTTPPort  int

	tb         testing.TB
	config     Config
	dir        string
	client     *http.Client
	management [2]string // management addresses of Pebble and of the DNS server
	dns        string
	log        *inboxtest.Log
}

// Start starts an authority.
func Start(tb testing.TB, c Config) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, config: c, dir: tb.TempDir(), TLSPort: c.TLSPort, HTTPPort: c.HTTPPort, log: new(inboxtest.Log)}
	if a.TLSPort == 0 {
		a.TLSPort = FreePort(tb)
	}
	if a.HTTPPort == 0 {
		a.HTTPPort = FreePort(tb)
	}
	own := inboxtest.NewCertificate(tb, "pebble")
	a.CAFile = a.write("ca.pem", own.Cert)
	key := a.write("key.pem", own.Key)
	a.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: own.Pool}, DisableKeepAlives: true,
	}}
	programs := build(tb)
	for range 5 { // another process may take the ports
		if a.try(programs, a.CAFile, key) {
			return a
		}
	}
	tb.Fatalf("pebble did not start:\n%s", a.log)
	return nil
}

// try starts both programs and reports whether they respond.
func (a *Authority) try(programs, cert, key string) bool {
	a.tb.Helper()
	at := func() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(a.tb))) }
	listen := at()
	a.management, a.dns = [2]string{at(), at()}, cmp.Or(a.config.DNS, at())
	profile := map[string]any{"description": "the only one"}
	if a.config.Validity != 0 {
		profile["validityPeriod"] = int(a.config.Validity / time.Second)
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": a.management[0], "certificate": cert, "privateKey": key,
		"httpPort": a.HTTPPort, "tlsPort": a.TLSPort, "domainBlocklist": a.config.Blocked, "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1}, "profiles": map[string]any{"default": profile},
	}})
	if err != nil {
		a.tb.Fatal(err)
	}
	names := a.run(programs, "pebble-challtestsrv", "-http01", "", "-https01", "", "-doh", "", "-tlsalpn01", "",
		"-dnsserver", a.dns, "-management", a.management[1], "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "")
	pebble := a.run(programs, "pebble", "-config", a.write("pebble.json", config), "-dnsserver", a.dns)
	a.Directory = "https://" + listen + "/dir"
	for {
		select {
		case <-names:
			return false
		case <-pebble:
			return false
		case <-time.After(20 * time.Millisecond):
		}
		if answer, err := a.client.Get(a.Directory); err == nil {
			answer.Body.Close()
			if conn, err := net.Dial("tcp", a.management[1]); err == nil {
				conn.Close()
				return true
			}
		}
	}
}

func (a *Authority) run(programs, name string, args ...string) (ended chan struct{}) {
	a.tb.Helper()
	cmd := exec.Command(filepath.Join(programs, name), args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	cmd.Stdout, cmd.Stderr = a.log, a.log
	cmd.SysProcAttr = inboxtest.EndWithUs()
	if err := cmd.Start(); err != nil {
		a.tb.Fatal(err)
	}
	ended = make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	a.tb.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	return ended
}

func (a *Authority) write(name string, content []byte) string {
	a.tb.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		a.tb.Fatal(err)
	}
	return file
}

// Orders returns the number of certificates that were ordered.
func (a *Authority) Orders() int { return strings.Count(a.log.String(), "Added order") }

// Log returns the output of both programs.
func (a *Authority) Log() string { return a.log.String() }

// Resolve makes the DNS server resolve name to address.
func (a *Authority) Resolve(name, address string) {
	a.tb.Helper()
	a.ask("/add-a", map[string]any{"host": name + ".", "addresses": []string{address}})
}

// Fail makes the DNS server fail for name until Recover.
func (a *Authority) Fail(name string) {
	a.tb.Helper()
	a.ask("/set-servfail", map[string]any{"host": name + "."})
}

// Recover undoes Fail.
func (a *Authority) Recover(name string) {
	a.tb.Helper()
	a.ask("/clear-servfail", map[string]any{"host": name + "."})
}

func (a *Authority) ask(path string, body any) {
	a.tb.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		a.tb.Fatal(err)
	}
	answer, err := http.Post("http://"+a.management[1]+path, "application/json", bytes.NewReader(content))
	if err != nil {
		a.tb.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		a.tb.Fatalf("%s: %s", path, answer.Status)
	}
}

// Roots returns the roots of the certificates that the authority issues.
func (a *Authority) Roots() *x509.CertPool {
	a.tb.Helper()
	roots := x509.NewCertPool()
	if content := a.RootsPEM(); !roots.AppendCertsFromPEM(content) {
		a.tb.Fatalf("the root of pebble: %s", content)
	}
	return roots
}

// RootsPEM returns the same roots in PEM.
func (a *Authority) RootsPEM() []byte {
	a.tb.Helper()
	answer, err := a.client.Get("https://" + a.management[0] + "/roots/0")
	if err != nil {
		a.tb.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		a.tb.Fatal(err)
	}
	return content
}

// FreePort returns a port that is free on 127.0.0.1 and 127.0.0.2 and below the range of
// ephemeral ports. It returns each port only once per process.
func FreePort(tb testing.TB) int {
	tb.Helper()
	return inboxtest.FreePort(tb, 5000, 11000, func(port int) bool {
		return inboxtest.IsFree("127.0.0.1", port) && inboxtest.IsFree("127.0.0.2", port)
	})
}

// build builds the programs, which are in a separate module, and returns their directory.
// It builds each version only once.
func build(tb testing.TB) string {
	tb.Helper()
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..")
	module := filepath.Join(root, ".ci", "pebble")
	sums, err := os.ReadFile(filepath.Join(module, "go.sum"))
	if err != nil {
		tb.Fatal(err)
	}
	all := filepath.Join(root, "build", "pebble")
	dir := filepath.Join(all, fmt.Sprintf("%x", sha256.Sum256(append(sums, runtime.Version()...)))[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(all, 0o755); err != nil {
		tb.Fatal(err)
	}
	fresh, err := os.MkdirTemp(all, "new-")
	if err != nil {
		tb.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	cmd := exec.Command("go", "build", "-C", module, "-o", fresh+string(filepath.Separator),
		"github.com/letsencrypt/pebble/v2/cmd/pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("cannot build pebble: %v\n%s", err, out)
	}
	// Tests of another package may have built them first.
	if err := os.Rename(fresh, dir); err != nil {
		if _, missing := os.Stat(dir); missing != nil {
			tb.Fatal(err)
		}
	}
	return dir
}
