package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"inbox/internal/inboxtest"
)

// Every flag of serve has an environment variable that works.
func TestEveryFlagHasAVariable(t *testing.T) {
	values := map[string]string{
		"INBOX_LISTEN": "127.0.0.1:1", "INBOX_BASE_PATH": "/x", "INBOX_TLS": "files",
		"INBOX_TLS_CERT": "/c.pem", "INBOX_TLS_KEY": "/k.pem", "INBOX_HTTP_LISTEN": "127.0.0.1:2", "INBOX_HSTS": "true", "INBOX_ALLOW_ORIGIN": "https://a.example,https://b.example",
		"INBOX_INBOX_TTL": "7s", "INBOX_INBOX_CAPACITY": "7", "INBOX_INBOX_BYTES": "7KiB", "INBOX_MAX_BODY": "700",
		"INBOX_MAX_INBOXES": "7", "INBOX_MAX_MEMORY": "7MiB", "INBOX_MAX_IN_FLIGHT": "70MiB", "INBOX_MAX_WAIT": "7s", "INBOX_STORE": "rediss://localhost",
		"INBOX_REDIS_PREFIX": "x:", "INBOX_REDIS_WAIT_REPLICAS": "1", "INBOX_REDIS_PASSWORD_FILE": "/rp", "INBOX_PEPPER_FILE": "/pepper", "INBOX_SECRET_FILE": "/pepper",
		"INBOX_REDIS_CA": "/ca.pem", "INBOX_REDIS_CERT": "/r.pem", "INBOX_REDIS_KEY": "/rk.pem",
		"INBOX_DRAIN": "7s", "INBOX_LOG_FORMAT": "json", "INBOX_LOG_LEVEL": "debug",
		"INBOX_UNIX_MODE": "0600", "INBOX_TRUSTED_PROXY": "10.0.0.0/8,unix", "INBOX_FORWARDED_HEADER": "Forwarded", "INBOX_PROXY_PROTOCOL": "true",
		"INBOX_LOG_CLIENTS": "true", "INBOX_METRICS_LISTEN": "127.0.0.1:9600", "INBOX_PPROF": "true",
		"INBOX_TOPICS": "false", "INBOX_TOPIC_SUBSCRIBERS": "7", "INBOX_TOPIC_NAME": "70B", "INBOX_CONNECTION_TOPICS": "7", "INBOX_TOPIC_QUEUE": "70KiB", "INBOX_TRACKER_SWARMS": "7", "INBOX_LIMIT_COPIES": "7/s",
		"INBOX_PEERJS": "false", "INBOX_PEERJS_KEY": "mine", "INBOX_PEERJS_DISCOVERY": "true",
		"INBOX_LIMITS": "off", "INBOX_LIMIT_REQUESTS": "7/s", "INBOX_LIMIT_INBOXES": "7/m", "INBOX_LIMIT_RECIPIENTS": "7/h",
		"INBOX_LIMIT_CONNECTIONS": "7", "INBOX_LIMIT_IN_FLIGHT": "7MiB", "INBOX_LIMIT_MEMORY": "7MiB", "INBOX_MAX_CONNECTIONS": "7", "INBOX_MAX_SLOW": "7MiB", "INBOX_PEERJS_HELD": "700KiB",
		"INBOX_ICE_SERVER": "stun:a.example,turn:b.example", "INBOX_ICE_SECRET_FILE": "/secret", "INBOX_ICE_PUBLIC": "true", "INBOX_OUTCOMES": "false",
		"INBOX_TURN": "open", "INBOX_TURN_LISTEN": "127.0.0.1:1", "INBOX_TURN_HOST": "turn.example", "INBOX_TURN_RATE": "7KiB", "INBOX_TURN_RATE_TOTAL": "7MiB",
		"INBOX_TURN_ADDRESS": "192.0.2.1", "INBOX_TURN_IP": "8.8.8.8/10.0.0.7,2606:4700::7", "INBOX_TURN_PORTS": "50000-50099", "INBOX_TURN_ALLOW": "10.0.0.0/8",
		"INBOX_SENDER_SHARE": "7", "INBOX_ROOM_MEMBERS": "7", "INBOX_ROOMS_PER_PEER": "7", "INBOX_LIMIT_PASSWORDS": "7/s", "INBOX_LIMIT_PASSWORDS_PER_INBOX": "7/s",
	}
	values["INBOX_CONFIG"] = writeConfig(t, "drain: 7s")
	// Flags that contradict Redis, --tls files or --topics=false.
	others := map[string]string{
		"INBOX_TRACKER": "true", "INBOX_SNAPSHOT": "/s", "INBOX_TLS_DOMAIN": "a.example,b.example", "INBOX_TLS_EMAIL": "a@example.com",
		"INBOX_TLS_DIRECTORY": "letsencrypt-staging", "INBOX_TLS_DIRECTORY_CA": "/ca.pem", "INBOX_TLS_STORAGE": "/acme",
	}
	var plain, alone, c cli
	parse(t, &plain)
	t.Run("with memory and an authority", func(t *testing.T) {
		t.Setenv("INBOX_TLS", "acme")
		for name, value := range others {
			t.Setenv(name, value)
		}
		parse(t, &alone)
	})
	for name, value := range values {
		t.Setenv(name, value)
	}
	parse(t, &c)
	got, gotAlone, was := reflect.ValueOf(c.Serve), reflect.ValueOf(alone.Serve), reflect.ValueOf(plain.Serve)
	flags := slices.DeleteFunc(reflect.VisibleFields(got.Type()), func(f reflect.StructField) bool { return f.Anonymous })
	if len(flags) != len(values)+len(others) {
		t.Errorf("%d flags, but this test sets %d variables", len(flags), len(values)+len(others))
	}
	for _, flag := range flags {
		value := func(v reflect.Value) any { return v.FieldByIndex(flag.Index).Interface() }
		if reflect.DeepEqual(value(got), value(was)) && reflect.DeepEqual(value(gotAlone), value(was)) {
			t.Errorf("the variable of %s changes nothing", flag.Name)
		}
	}
}

func parse(t *testing.T, c *cli) {
	t.Helper()
	k, err := kong.New(c, kong.DefaultEnvars("INBOX"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Parse([]string{"serve"}); err != nil {
		t.Fatal(err)
	}
}

// running is a server in this process.
type running struct {
	url  string
	stop context.CancelFunc
	done chan error
	log  *lines
}

func serve(t *testing.T, flags ...string) *running {
	t.Helper()
	var c cli
	k, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Parse(append([]string{"serve", "--listen=127.0.0.1:0", "--turn-listen=127.0.0.1:0"}, flags...)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{stop: stop, done: make(chan error, 1), log: &lines{changed: make(chan struct{}, 1)}}
	go func() { r.done <- c.Serve.Run(ctx, streams{io.Discard, r.log}) }()
	t.Cleanup(func() { r.stop() })
	r.url = strings.TrimSuffix(r.log.await(t, `url(?:=|":")([^\s"]+)`), "/")
	return r
}

// end stops the server and waits for it.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// lines is a log that can be awaited.
type lines struct {
	inboxtest.Log
	changed chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	n, err := l.Log.Write(p)
	select {
	case l.changed <- struct{}{}:
	default:
	}
	return n, err
}

// await waits until the pattern matches and returns its group.
func (l *lines) await(t *testing.T, pattern string) string {
	t.Helper()
	for late := time.After(30 * time.Second); ; {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(l.String()); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-l.changed:
		case <-late:
			t.Fatalf("the log never contains %q:\n%s", pattern, l)
		}
	}
}

func get(t *testing.T, c *http.Client, url, user, password string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestDrain(t *testing.T) {
	r := serve(t, "--drain=20s")
	// Separate clients, so that no request waits for another's connection.
	waits, sends, watches := new(http.Client), new(http.Client), new(http.Client)
	for _, c := range []*http.Client{waits, sends, watches} {
		c.Transport = &http.Transport{}
		defer c.CloseIdleConnections()
	}
	if res, _ := get(t, watches, r.url+"/inbox?wait=0", "bob", "x"); res.StatusCode != http.StatusNoContent {
		t.Fatal(res.Status)
	}
	type answer struct {
		status int
		body   string
		retry  string
	}
	waiting := make(chan answer, 1)
	go func() {
		res, body := get(t, waits, r.url+"/inbox", "carol", "x")
		waiting <- answer{res.StatusCode, body, res.Header.Get("Retry-After")}
	}()
	// A send in flight, whose body has not ended.
	body, write := io.Pipe()
	sent := make(chan int, 1)
	go func() {
		req, _ := http.NewRequest(http.MethodPost, r.url+"/inbox?to=bob", body)
		req.SetBasicAuth("alice", "x")
		res, err := sends.Do(req)
		if err != nil {
			sent <- 0
			return
		}
		res.Body.Close()
		sent <- res.StatusCode
	}()
	write.Write([]byte("half"))

	r.stop()
	r.log.await(t, "msg=(draining)")
	if a := <-waiting; a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"draining"`) || a.retry == "" {
		t.Errorf("the poll that waited ended with %+v", a)
	}
	if res, _ := get(t, watches, r.url+"/readyz", "", ""); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz: %s", res.Status)
	}
	if res, _ := get(t, watches, r.url+"/healthz", "", ""); res.StatusCode != http.StatusOK {
		t.Errorf("healthz: %s", res.Status)
	}
	if res, body := get(t, watches, r.url+"/inbox", "dave", "x"); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"draining"`) {
		t.Errorf("a new poll: %s", res.Status)
	}
	write.Write([]byte(" and half"))
	write.Close()
	if status := <-sent; status != http.StatusOK {
		t.Errorf("the send in flight ended with %d", status)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// The log contains nothing that a peer chose, at any level and in any format.
func TestLogsContainNoIdentities(t *testing.T) {
	const id, password, recipient, text, key = "canary-id", "canary-password", "canary-recipient", "canary-body", "canary-key"
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			r := serve(t, "--log-level=debug", "--log-format="+format, "--drain=0s", "--inbox-capacity=1")
			send := func(to, id, password string) {
				req, err := http.NewRequest(http.MethodPost, r.url+"/inbox?to="+to, strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				req.SetBasicAuth(id, password)
				req.Header.Set("Idempotency-Key", key)
				req.Header.Set("User-Agent", "canary-agent")
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
			}
			send(recipient, id, password) // 404
			get(t, http.DefaultClient, r.url+"/inbox?wait=0", recipient, password)
			send(recipient, id, password)
			send(recipient, id, password) // replayed
			send(recipient, id, "canary-wrong")
			send("canary:recipient", id, password)
			send(recipient+"&to=canary-2", id, password)
			get(t, http.DefaultClient, r.url+"/inbox?after=canary-cursor", recipient, password)
			get(t, http.DefaultClient, r.url+"/inbox", recipient, password)
			get(t, http.DefaultClient, r.url+"/canary-path?canary-query", "", "")
			get(t, http.DefaultClient, r.url+"/inbox", "canary\nid", password)
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, "canary-method /canary HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n\r\n")
			io.Copy(io.Discard, conn)
			conn.Close()
			r.end(t)
			log := r.log.String()
			if !strings.Contains(log, "request") {
				t.Fatalf("nothing was logged:\n%s", log)
			}
			encoded := base64.StdEncoding.EncodeToString([]byte(id + ":" + password))
			for _, secret := range []string{"canary", encoded, encoded[:12], url.QueryEscape(id), base64.StdEncoding.EncodeToString([]byte(text))} {
				if strings.Contains(log, secret) {
					t.Errorf("the log contains %q:\n%s", secret, log)
				}
			}
		})
	}
}

func TestSelfSignedCertificate(t *testing.T) {
	cert, _, err := selfSigned(ourNames(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, roots := cert.Leaf, x509.NewCertPool()
	roots.AddCert(leaf)
	for _, name := range append(machineAddresses(), "localhost", "127.0.0.1", "::1") {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// writeCertificate writes a new certificate and key, and returns the serial number.
func writeCertificate(t *testing.T, certFile, keyFile string) (serial string) {
	t.Helper()
	cert, content, err := selfSigned(ourNames(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{certFile, keyFile} { // each is read for its own part
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert.Leaf.SerialNumber.String()
}

func TestCertificateFilesAreReloaded(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := writeCertificate(t, certFile, keyFile)
	r := serve(t, "--tls=files", "--tls-cert="+certFile, "--tls-key="+keyFile, "--drain=0s")
	serial := func() string {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
			t.Errorf("negotiated %q", p)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	becomes := func(want string) {
		t.Helper()
		// The files are checked once a second.
		for deadline := time.Now().Add(30 * time.Second); serial() != want; {
			if time.Now().After(deadline) {
				t.Fatal("the new certificate is not used")
			}
		}
	}
	if serial() != first {
		t.Fatal("another certificate than that of the files")
	}
	becomes(writeCertificate(t, certFile, keyFile))
	current := serial()
	if err := os.WriteFile(certFile, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(r.log.String(), "cannot load the changed certificate") {
		if serial() != current {
			t.Fatal("a broken file replaced the certificate")
		}
	}
	becomes(writeCertificate(t, certFile, keyFile))

	// A missing file is logged once, however many clients connect.
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	current = serial()
	logged := strings.Count(r.log.String(), "cannot load the changed certificate")
	for looks := time.Now().Add(2500 * time.Millisecond); time.Now().Before(looks) || strings.Count(r.log.String(), "cannot load the changed certificate") == logged; {
		if serial() != current {
			t.Fatal("a missing file replaced the certificate")
		}
	}
	if n := strings.Count(r.log.String(), "cannot load the changed certificate"); n != logged+1 {
		t.Errorf("a missing file was logged %d times", n-logged)
	}
	becomes(writeCertificate(t, certFile, keyFile))
	r.end(t)
}

// An expired certificate is still served, with HSTS, and logged.
func TestExpiredCertificate(t *testing.T) {
	cert, content, err := selfSigned(ourNames(), time.Now().AddDate(0, 0, -selfSignedDays-1))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	r := serve(t, "--tls=files", "--tls-cert="+file, "--tls-key="+file, "--hsts", "--drain=0s")
	r.log.await(t, `level=WARN msg="the certificate has (expired)`)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	res, _ := get(t, client, r.url+"/", "", "")
	if got := res.Header.Get("Strict-Transport-Security"); got != hstsHeader {
		t.Errorf("Strict-Transport-Security is %q", got)
	}
	if got := res.TLS.PeerCertificates[0]; !got.Equal(cert.Leaf) {
		t.Error("another certificate")
	}
	r.end(t)
}
