package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"inbox/internal/acmetest"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// replaceForTests lets the program run in a container, and makes it retry immediately.
func replaceForTests() {
	checkStorage = func(string) error { return nil }
	retryPause = func(int) time.Duration { return 200 * time.Millisecond }
}

// secured is a server with certificates from an ACME authority.
type secured struct {
	*running
	testing.TB
	cmd     *exec.Cmd
	address string // for TLS
	client  *http.Client
	config  *tls.Config // of client
}

// serveACME starts a server at 127.0.0.HOST, on the port that the authority connects to.
func serveACME(t *testing.T, a *acmetest.Authority, host int, flags ...string) *secured {
	t.Helper()
	s := &secured{TB: t, address: fmt.Sprintf("127.0.0.%d:%d", host, a.TLSPort), config: &tls.Config{RootCAs: a.Roots()}}
	s.client = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: s.config, ForceAttemptHTTP2: true, DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				_, port, _ := net.SplitHostPort(address)
				return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0."+strconv.Itoa(host), port))
			},
		},
	}
	s.cmd, s.running = process(t, append([]string{
		"--listen=" + s.address, "--tls=acme", "--tls-directory=" + a.Directory, "--tls-directory-ca=" + a.CAFile, "--log-level=debug", "--drain=0s",
	}, flags...)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server at %s:\n%s\nthe authority:\n%s", s.address, s.log, a.Log())
		}
	})
	return s
}

// get fetches a path of a name.
func (s *secured) get(name, path string) (*http.Response, string, error) {
	_, port, _ := net.SplitHostPort(s.address)
	res, err := s.client.Get("https://" + net.JoinHostPort(name, port) + path)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

func (s *secured) awaitServed(name string) {
	s.Helper()
	inboxtest.Until(s, name+" is served", func() bool {
		res, _, err := s.get(name, "/healthz")
		return err == nil && res.StatusCode == http.StatusOK
	})
}

// end stops the server and checks that its log contains no secret: tokens and thumbprints
// have 43 characters.
func (s *secured) end() {
	s.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		s.Errorf("exited with %v", err)
	}
	if found := regexp.MustCompile(`[A-Za-z0-9_-]{40,}|PRIVATE`).FindString(s.log.String()); found != "" {
		s.Errorf("the log contains %s", found)
	}
}

// One command starts a server with a certificate that browsers accept. It redirects plain
// HTTP, and the next start does not need the authority.
func TestACME(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{})
	storage := filepath.Join(t.TempDir(), "state", "acme")
	plain := "127.0.0.1:" + strconv.Itoa(a.HTTPPort)
	flags := []string{"--tls-domain=signal.example.com", "--tls-email=admin@example.com", "--tls-storage=" + storage, "--http-listen=" + plain, "--hsts"}
	began := time.Now()
	s := serveACME(t, a, 1, flags...)
	s.awaitServed("signal.example.com")
	t.Logf("from the start to the first answer over https: %v", time.Since(began))

	for _, path := range []string{"/", "/healthz", "/inbox", "/not-there"} {
		res, _, err := s.get("signal.example.com", path)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" || res.Proto != "HTTP/2.0" {
			t.Errorf("%s: %s, Strict-Transport-Security is %q", path, res.Proto, got)
		}
	}
	for _, name := range []string{"", "other.example.com"} {
		conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err != nil {
			t.Fatalf("a client that asks for %q: %v", name, err)
		}
		if leaf := conn.ConnectionState().PeerCertificates[0]; leaf.VerifyHostname("signal.example.com") != nil {
			t.Errorf("a client that asks for %q gets a certificate for %v", name, leaf.DNSNames)
		}
		conn.Close()
	}

	secure := "https://signal.example.com:" + strconv.Itoa(a.TLSPort)
	for _, c := range []struct {
		method, path, header string
		status               int
	}{
		{"GET", "/call/?x=1", "", 307}, {"HEAD", "/", "", 307}, {"GET", "/.well-known/acme-challenge/x", "", 307},
		{"GET", "/inbox", "", 400}, {"POST", "/", "", 400}, {"GET", "/", "Authorization", 400},
	} {
		req, err := http.NewRequest(c.method, "http://"+plain+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "signal.example.com:" + strconv.Itoa(a.HTTPPort)
		if c.header != "" {
			req.Header.Set(c.header, "x")
		}
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		where := res.Header.Get("Location")
		if res.StatusCode != c.status || (where == secure+c.path) != (c.status == 307) || res.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s %s over plain HTTP: %s to %q", c.method, c.path, res.Status, where)
		}
		if c.method != "HEAD" && !strings.Contains(string(body), secure+c.path) {
			t.Errorf("%s %s over plain HTTP: %q", c.method, c.path, body)
		}
	}
	s.end()

	err := filepath.WalkDir(storage, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 && !strings.Contains(path, "/locks") {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	again := serveACME(t, a, 1, flags...)
	again.awaitServed("signal.example.com")
	again.end()
	if n := a.Orders(); n != 1 {
		t.Errorf("%d orders over two starts", n)
	}
}

// The certificate is replaced while clients wait, without interrupting them.
func TestACMERenews(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{Validity: 10 * time.Second})
	s := serveACME(t, a, 1, "--tls-domain=short.example.com", "--tls-storage="+t.TempDir(), "--http-listen=off")
	s.awaitServed("short.example.com")
	address := "https://" + net.JoinHostPort("short.example.com", strconv.Itoa(a.TLSPort)) + "/inbox"
	ask := func(method, query, id string, body io.Reader) (*http.Response, error) {
		req, err := http.NewRequest(method, address+query, body)
		if err != nil {
			return nil, err
		}
		req.SetBasicAuth(id, "secret")
		return s.client.Do(req)
	}
	waiting := make(chan string, 1)
	go func() {
		res, err := ask(http.MethodGet, "", "bob", nil)
		if err != nil {
			waiting <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		waiting <- string(body)
	}()
	serials := make(map[string]bool)
	inboxtest.Until(t, "there was another certificate", func() bool {
		conn, err := tls.Dial("tcp", s.address, &tls.Config{RootCAs: s.config.RootCAs, ServerName: "short.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		serials[conn.ConnectionState().PeerCertificates[0].SerialNumber.String()] = true
		return len(serials) > 1
	})
	inboxtest.Until(t, "a message arrives at the poll from before", func() bool {
		res, err := ask(http.MethodPost, "?to=bob", "alice", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	if got := <-waiting; got != "hello" {
		t.Errorf("the poll that was waiting got %q", got)
	}
	s.end()
}

// Two servers that share a Redis order one certificate, and both serve it. The server
// that the authority reaches answers the challenge. The key is not readable in Redis.
func TestACMEOverRedis(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{})
	const name = "shared.example.com"
	a.Resolve(name, "127.0.0.2")
	redis := redistest.Start(t)
	pepper := filepath.Join(t.TempDir(), "pepper")
	if err := os.WriteFile(pepper, []byte(strings.Repeat("pepper", 10)), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := []string{"--tls-domain=" + name, "--http-listen=off", "--store=" + redis.URL(), "--pepper-file=" + pepper}
	// No server orders before both listen.
	const locked = "inbox:{e8a}lock:issue_cert_" + name
	redis.Must("SET", locked, "somebody", "PX", "100000")
	one, two := serveACME(t, a, 1, flags...), serveACME(t, a, 2, flags...)
	for _, s := range []*secured{one, two} {
		s.log.await(t, `acquiring lock`)
	}
	two.cmd.Process.Signal(syscall.SIGSTOP)
	inboxtest.Until(t, "the other server is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", two.cmd.Process.Pid))
		return err != nil || strings.Contains(string(stat), ") T ") // otherwise this is not Linux
	})
	for range 3 { // until the pending requests are answered
		redis.Must("PING")
	}
	redis.Must("DEL", locked)
	one.log.await(t, `lock acquired`)
	if held := redis.Must("EXISTS", locked); fmt.Sprint(held.AsInt64()) != "1 <nil>" {
		t.Fatal("the lock is not the expected one")
	}
	two.cmd.Process.Signal(syscall.SIGCONT)
	one.awaitServed(name)
	two.awaitServed(name)
	if n := a.Orders(); n != 1 {
		t.Errorf("%d orders for two servers", n)
	}
	two.log.await(t, `served key authentication certificate`)
	if strings.Contains(one.log.String(), "served key authentication certificate") {
		t.Error("the authority did not contact the other server")
	}

	all := redis.Must("KEYS", "*")
	keys, err := all.AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	files := ""
	for _, key := range keys {
		if dump := redis.Text("DUMP", key); strings.Contains(dump, "PRIVATE") || strings.Contains(dump, "CERTIFICATE") {
			t.Errorf("the content of %s is readable", key)
		}
		if !strings.HasPrefix(key, "inbox:{") {
			t.Errorf("unexpected key %s", key)
		}
		if strings.HasSuffix(key, "files") {
			files = key
		}
	}
	left := redis.Must("TTL", files)
	if ttl, err := left.AsInt64(); files == "" || err != nil || ttl != -1 {
		t.Errorf("the certificates (%s) expire in %d s, %v", files, ttl, err)
	}
	one.end()
	again := serveACME(t, a, 1, flags...)
	again.awaitServed(name)
	if n := a.Orders(); n != 1 {
		t.Errorf("%d orders after a restart", n)
	}
	again.end()
	two.end()
}

// A name that fails validation is reported in one line. The server serves its other names
// and retries until validation succeeds.
func TestACMEFailure(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{})
	a.Fail("bad.example.com")
	s := serveACME(t, a, 1, "--tls-domain=bad.example.com,good.example.com", "--tls-storage="+t.TempDir(), "--http-listen=off")
	s.awaitServed("good.example.com")
	s.log.await(t, `level=ERROR msg="no certificate: [^"]*check DNS[^"]*" name=bad.example.com`)
	if n := strings.Count(s.log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors", n)
	}
	a.Recover("bad.example.com")
	s.awaitServed("bad.example.com")
	s.end()
}

// If the authority only reaches port 80, it validates there.
func TestACMEOverPlainHTTP(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{})
	a.TLSPort = acmetest.FreePort(t) // it does not connect to this port
	s := serveACME(t, a, 1, "--tls-domain=plain.example.com", "--tls-storage="+t.TempDir(), "--http-listen=127.0.0.1:"+strconv.Itoa(a.HTTPPort))
	s.awaitServed("plain.example.com")
	s.end()
}

// An unreachable or untrusted authority is reported in one line too.
func TestACMEWithoutAuthority(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{})
	own := inboxtest.NewCertificate(t, "another")
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, own.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := "https://127.0.0.1:" + strconv.Itoa(acmetest.FreePort(t)) + "/dir"
	for want, flags := range map[string][]string{
		"--tls-directory-ca": {"--tls-directory=" + a.Directory, "--tls-directory-ca=" + file},
		"outgoing port 443":  {"--tls-directory=" + gone},
	} {
		_, r := process(t, append(flags, "--listen=127.0.0.1:0", "--tls=acme", "--tls-domain=x.example.com", "--tls-storage="+t.TempDir(), "--http-listen=off", "--drain=0s")...)
		r.log.await(t, `level=ERROR msg="no certificate: [^"]*`+want)
		// Health checks succeed. A client that asks for the name gets no certificate.
		at := strings.TrimPrefix(r.url, "https://x.example.com")
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		if res, _ := get(t, client, "https://127.0.0.1"+at+"/readyz", "", ""); res.StatusCode != http.StatusOK {
			t.Errorf("readyz: %s", res.Status)
		}
		if conn, err := tls.Dial("tcp", "127.0.0.1"+at, &tls.Config{InsecureSkipVerify: true, ServerName: "x.example.com"}); err == nil {
			conn.Close()
			t.Error("a client that asks for the name gets another certificate")
		}
		if u, err := url.Parse(r.url); err != nil || u.Hostname() != "x.example.com" {
			t.Errorf("it listens at %s, %v", r.url, err)
		}
	}
}

// In a container without a volume, the server does not start and gives the reason.
func TestACMEInContainer(t *testing.T) {
	defer func(before func(string) error) { checkStorage = before }(checkStorage)
	dir := t.TempDir()
	checkStorage = func(asked string) error {
		if asked != dir {
			t.Errorf("checked %s", asked)
		}
		return errors.New("mount a volume")
	}
	var out, errs strings.Builder
	code := run([]string{"serve", "--listen=127.0.0.1:0", "--http-listen=off", "--tls=acme", "--tls-domain=x.example.com", "--tls-storage=" + dir}, &out, &errs)
	if code != 1 || errs.String() != "inbox: mount a volume\n" {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// The https port depends on the port of the client's request.
func TestHostOfHTTPS(t *testing.T) {
	for _, c := range []struct {
		http, https int
		host, want  string
	}{
		{80, 443, "a.example", "a.example"}, {80, 443, "a.example:80", "a.example"},
		{80, 3000, "a.example", "a.example:3000"}, {8080, 3000, "a.example:8080", "a.example:3000"},
		{8080, 8443, "a.example", "a.example"}, // 80 and 443 are forwarded
		{8080, 443, "a.example:8080", "a.example"}, {80, 3000, "[::1]:80", "[::1]:3000"}, {80, 443, "[::1]:80", "[::1]"}, {80, 3000, "[::1]", "[::1]:3000"},
	} {
		h := &toHTTPS{http: c.http, https: c.https}
		if got := h.host(c.host); got != c.want {
			t.Errorf("%s at the ports %d and %d: got %s, want %s", c.host, c.http, c.https, got, c.want)
		}
	}
}
