package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"inbox/internal/inboxtest"
)

// front is a proxy with one of our configurations, changed only in its addresses.
type front struct {
	name    string
	program string
	install string // package to install
	file    string
	listen  string // value of --listen
	flags   []string
	tls     bool // the proxy terminates TLS; otherwise the server does, or nothing does
	// change lists patterns and their replacements. Each pattern must match.
	change [][2]string
	check  []string // arguments that check the configuration
	run    []string
}

// Placeholders in changes and arguments.
const (
	atServer = "SERVER" // address of the server
	atProxy  = "PROXY"  // address of the proxy
	atPlain  = "PLAIN"  // address of the proxy for plain HTTP
	inDir    = "DIR"    // directory of the test
	itsFile  = "FILE"   // the changed configuration
)

var fronts = []front{
	{
		name: "nginx", program: "nginx", install: "nginx-light", file: "nginx/inbox.conf", tls: true,
		listen: "127.0.0.1:0", flags: []string{"--trusted-proxy=127.0.0.1"},
		change: nginxChanges("127.0.0.1:3000", atServer), check: []string{"-t", "-q", "-p", inDir, "-c", "DIR/nginx.conf"}, run: []string{"-p", inDir, "-c", "DIR/nginx.conf"},
	},
	{
		name: "nginx over a Unix socket", program: "nginx", install: "nginx-light", file: "nginx/inbox.conf", tls: true,
		listen: "unix:DIR/inbox.sock", flags: []string{"--trusted-proxy=unix"},
		change: nginxChanges("127.0.0.1:3000", atServer), check: []string{"-t", "-q", "-p", inDir, "-c", "DIR/nginx.conf"}, run: []string{"-p", inDir, "-c", "DIR/nginx.conf"},
	},
	{
		name: "Caddy", program: "caddy", install: "caddy", file: "caddy/Caddyfile",
		listen: "127.0.0.1:0", flags: []string{"--trusted-proxy=127.0.0.1"},
		change: [][2]string{{`(?m)^signal\.example\.com {`, "{\n\tadmin off\n}\nhttp://PROXY {\n\tbind 127.0.0.1"}, {`127\.0\.0\.1:3000 {`, "SERVER {"}},
		check:  []string{"validate", "--adapter", "caddyfile", "--config", itsFile}, run: []string{"run", "--adapter", "caddyfile", "--config", itsFile},
	},
	{
		name: "Caddy over a Unix socket", program: "caddy", install: "caddy", file: "caddy/Caddyfile",
		listen: "unix:DIR/inbox.sock", flags: []string{"--trusted-proxy=unix"},
		change: [][2]string{{`(?m)^signal\.example\.com {`, "{\n\tadmin off\n}\nhttp://PROXY {\n\tbind 127.0.0.1"}, {`127\.0\.0\.1:3000 {`, "unix/DIR/inbox.sock {"}},
		check:  []string{"validate", "--adapter", "caddyfile", "--config", itsFile}, run: []string{"run", "--adapter", "caddyfile", "--config", itsFile},
	},
	{
		name: "HAProxy", program: "haproxy", install: "haproxy", file: "haproxy/haproxy.cfg", tls: true,
		listen: "127.0.0.1:0", flags: []string{"--trusted-proxy=127.0.0.1"},
		change: [][2]string{{`maxconn 20000`, "maxconn 200"}, {`bind :80`, "bind PLAIN"}, {`bind :443`, "bind PROXY"}, {`/etc/haproxy/signal\.example\.com\.pem`, "DIR/both.pem"}, {`127\.0\.0\.1:3000 check`, "SERVER check"}},
		check:  []string{"-c", "-q", "-f", itsFile}, run: []string{"-db", "-f", itsFile},
	},
	{
		name: "HAProxy with the PROXY protocol", program: "haproxy", install: "haproxy", file: "haproxy/haproxy-tcp.cfg",
		listen: "127.0.0.1:0", flags: []string{"--trusted-proxy=127.0.0.1", "--proxy-protocol", "--tls=files", "--tls-cert=DIR/cert.pem", "--tls-key=DIR/key.pem"},
		change: [][2]string{{`maxconn 20000`, "maxconn 200"}, {`bind :80`, "bind PLAIN"}, {`bind :443`, "bind PROXY"}, {`10\.0\.0\.5:443`, atServer}, {`10\.0\.0\.5:80`, atServer}},
		check:  []string{"-c", "-q", "-f", itsFile}, run: []string{"-db", "-f", itsFile},
	},
}

func nginxChanges(upstream, server string) [][2]string {
	return [][2]string{
		{`listen \[::\].*\n`, "\n"}, {`listen 80;`, "listen PLAIN;"}, {`listen 443 ssl`, "listen PROXY ssl"},
		{`/etc/letsencrypt/live/signal\.example\.com/fullchain\.pem`, "DIR/cert.pem"}, {`/etc/letsencrypt/live/signal\.example\.com/privkey\.pem`, "DIR/key.pem"},
		{`/var/log/nginx`, inDir}, {`server ` + regexp.QuoteMeta(upstream), "server " + server},
	}
}

// start runs the server and the proxy. It returns the proxy's URL and a TLS configuration
// that trusts it.
func (f front) start(t *testing.T) (url string, config *tls.Config) {
	t.Helper()
	program, err := exec.LookPath(f.program)
	if err != nil {
		t.Fatalf("this test needs %s: apt-get install %s", f.program, f.install)
	}
	dir := t.TempDir()
	certificate := inboxtest.NewCertificate(t, "test")
	words := strings.NewReplacer(inDir, dir, itsFile, filepath.Join(dir, "config"), atProxy, freeAddress(t), atPlain, freeAddress(t))
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cert.pem", certificate.Cert)
	write("key.pem", certificate.Key)
	write("both.pem", append(certificate.Cert, certificate.Key...))
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n" // other users cannot read the directory
	}
	write("nginx.conf", []byte(user+words.Replace("worker_processes 1;\npid DIR/pid;\nevents { worker_connections 256; }\nhttp { include FILE; }\n")))

	listen := words.Replace(f.listen)
	flags := []string{"--listen=" + listen, "--drain=0s", "--turn=off", "--limit-passwords=1/h,burst=20", "--limit-passwords-per-inbox=0"}
	for _, flag := range f.flags {
		flags = append(flags, words.Replace(flag))
	}
	server := listen
	if !strings.HasPrefix(listen, unixPrefix) {
		_, r := process(t, flags...)
		_, server, _ = strings.Cut(r.url, "://")
	} else {
		r := begun(t, exec.Command("inbox", append([]string{"serve"}, flags...)...))
		r.log.await(t, `msg=listening (unix=)`)
	}
	content, err := os.ReadFile(deploy + f.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range f.change {
		pattern := regexp.MustCompile(c[0])
		if !pattern.Match(content) {
			t.Fatalf("%s does not contain %s", f.file, c[0])
		}
		to := strings.ReplaceAll(words.Replace(c[1]), atServer, server)
		content = pattern.ReplaceAllLiteral(content, []byte(to))
	}
	write("config", content)
	arguments := func(all []string) (changed []string) {
		for _, a := range all {
			changed = append(changed, words.Replace(a))
		}
		return changed
	}
	home := append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	check := exec.Command(program, arguments(f.check)...)
	check.Env = home
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("%s rejects the configuration: %v\n%s\n%s", f.name, err, out, content)
	}
	run := arguments(f.run)
	if f.program == "nginx" {
		run = append(run, "-g", "daemon off;")
	}
	var said bytes.Buffer
	cmd := exec.Command(program, run...)
	cmd.Env, cmd.Stdout, cmd.Stderr = home, &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", f.name, said.String())
		}
	})
	config = &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost"}
	if !f.tls && !strings.Contains(strings.Join(f.flags, " "), "--tls=") {
		return "http://" + words.Replace(atProxy), config
	}
	return "https://" + words.Replace(atProxy), config
}

// clientAt is a client behind a proxy with its own loopback address.
type clientAt struct {
	*testing.T
	*http.Client
	url, address string
}

func at(t *testing.T, address, url string, config *tls.Config) *clientAt {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: config, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &clientAt{t, &http.Client{Transport: transport, Timeout: time.Minute}, url, address}
}

func (c *clientAt) begin(method, query, id, accept string) (*http.Response, error) {
	c.Helper()
	req, err := http.NewRequest(method, c.url+"/inbox"+query, strings.NewReader(map[string]string{http.MethodPost: "hello"}[method]))
	if err != nil {
		c.Fatal(err)
	}
	req.SetBasicAuth(id, passwordFor(id))
	// Clients may claim any address in a header.
	req.Header.Set("X-Forwarded-For", "203.0.113.9, 127.0.0.1")
	req.Header.Set("Forwarded", "for=203.0.113.9")
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	return c.Do(req)
}

// ask returns a status, or 0 if there is no response.
func (c *clientAt) ask(method, query, id string) (int, string) {
	c.Helper()
	res, err := c.begin(method, query, id, "")
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// socket opens a socket and returns its first message, or the status of the response.
func (c *clientAt) socket(id string, opened func()) (string, websocket.StatusCode) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	header := http.Header{"X-Forwarded-For": {"203.0.113.9"}}
	req := &http.Request{Header: header}
	req.SetBasicAuth(id, passwordFor(id))
	conn, res, err := websocket.Dial(ctx, c.url+"/inbox", &websocket.DialOptions{HTTPClient: c.Client, HTTPHeader: header, Subprotocols: []string{"inbox.v1"}})
	if err != nil && res != nil {
		return "", websocket.StatusCode(res.StatusCode)
	} else if err != nil {
		c.Fatalf("socket: %v", err)
	}
	defer conn.CloseNow()
	if opened != nil {
		opened()
	}
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			if websocket.CloseStatus(err) < 0 {
				c.Fatalf("socket: %v", err)
			}
			return "", websocket.CloseStatus(err)
		}
		if bytes.Contains(frame, []byte("hello")) {
			return "hello", 0
		}
	}
}

// stream returns the first message of a stream.
func (c *clientAt) stream(id string, opened func()) (int, string) {
	c.Helper()
	res, err := c.begin(http.MethodGet, "?after=0", id, "text/event-stream")
	if err != nil {
		c.Fatalf("stream: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, ""
	}
	opened()
	var all []byte
	for buf := make([]byte, 1024); ; {
		n, err := res.Body.Read(buf)
		if all = append(all, buf[:n]...); bytes.Contains(all, []byte("hello")) {
			return res.StatusCode, "hello"
		}
		if err != nil {
			c.Fatalf("stream: %q, %v", all, errors.Join(err))
		}
	}
}

// abandon starts a pop and disconnects while it waits. It reports whether a message sent
// after a pause is still in the inbox.
func (c *clientAt) abandon(id string, pause time.Duration) bool {
	c.Helper()
	ctx, leave := context.WithCancel(c.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/inbox?wait=20", nil)
	req.SetBasicAuth(id, passwordFor(id))
	left := make(chan bool)
	go func() {
		defer close(left)
		if res, err := c.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	time.Sleep(pause) // until the poll waits
	leave()
	<-left
	time.Sleep(pause) // until the proxy notices
	if status, body := c.ask(http.MethodPost, "?to="+id, "bob"); status != http.StatusOK {
		c.Logf("a send got %d %s", status, body)
		return false
	}
	_, body := c.ask(http.MethodGet, "?wait=0", id)
	return body == "hello"
}

// wrong is the id of an inbox whose password is not passwordFor(wrong).
const wrong = "poller of another peer"

func passwordFor(id string) string { return "password of " + id }

// Through each proxy with our configuration, peers meet by poll, stream and socket. The
// server knows each client by its own address, so wrong passwords do not count against
// other clients.
func TestProxiesInFront(t *testing.T) {
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			url, config := f.start(t)
			one, greedy := at(t, "127.0.0.2", url, config), at(t, "127.0.0.3", url, config)
			inboxtest.Until(t, "the proxy passes requests on", func() bool {
				status, _ := one.ask(http.MethodGet, "?limit=0", "carol")
				return status == http.StatusNoContent
			})
			send := func(to string) func() {
				return func() {
					if status, body := one.ask(http.MethodPost, "?to="+to, "bob"); status != http.StatusOK {
						t.Errorf("a send got %d %s", status, body)
					}
				}
			}
			one.ask(http.MethodGet, "?limit=0", "poller")
			req, _ := http.NewRequest(http.MethodGet, url+"/inbox?limit=0", nil)
			req.SetBasicAuth(wrong, "another password")
			if res, err := one.Do(req); err != nil || res.StatusCode != http.StatusNoContent {
				t.Fatalf("%v, %v", res, err)
			}
			polled := make(chan string, 1)
			go func() {
				_, body := one.ask(http.MethodGet, "?after=0&wait=20", "poller")
				polled <- body
			}()
			send("poller")()
			if got := <-polled; got != "hello" {
				t.Errorf("a poll got %q", got)
			}
			if status, got := one.stream("streamer", send("streamer")); got != "hello" {
				t.Errorf("a stream got %d %q", status, got)
			}
			if got, code := one.socket("caller", send("caller")); got != "hello" {
				t.Errorf("a socket got %q, %d", got, code)
			}

			// A client that disconnects is not mistaken for one that waits.
			kept := false
			for i, pause := 0, 20*time.Millisecond; i < 7 && !kept; i, pause = i+1, 2*pause {
				kept = one.abandon(fmt.Sprint("abandoner", i), pause)
			}
			if !kept {
				t.Error("messages sent after an abandoned poll are lost")
			}

			// A client that guesses too often is refused on every transport. Other
			// clients are not.
			for range 30 {
				greedy.ask(http.MethodGet, "?limit=0", wrong)
			}
			for _, c := range []struct {
				*clientAt
				status int
			}{{greedy, http.StatusTooManyRequests}, {one, http.StatusUnauthorized}} {
				if status, _ := c.ask(http.MethodGet, "?after=0&wait=20", wrong); status != c.status {
					t.Errorf("%s: a poll with a wrong password gets %d", c.address, status)
				}
				if status, _ := c.stream(wrong, nil); status != c.status {
					t.Errorf("%s: a stream with a wrong password gets %d", c.address, status)
				}
				if _, status := c.socket(wrong, nil); int(status) != c.status {
					t.Errorf("%s: a socket with a wrong password gets %d", c.address, status)
				}
			}
		})
	}
}
