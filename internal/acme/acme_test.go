package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/goleak"

	"inbox/internal/acmetest"
	"inbox/internal/inboxtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// certmagic leaves one goroutine per authority, and one per lock for 5 s.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// service is a TLS server with a Manager.
type service struct {
	*Manager
	testing.TB
	addr string
	log  *inboxtest.Log
	stop func()
}

func start(t *testing.T, a *acmetest.Authority, c Config) *service {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(a.TLSPort)))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{TB: t, addr: ln.Addr().String(), log: new(inboxtest.Log)}
	c.Directory, c.Roots, c.Address = a.Directory, readRoots(t, a.CAFile), ln.Addr().(*net.TCPAddr)
	c.Log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if c.Storage == nil {
		if c.Storage, err = NewDirectory(filepath.Join(t.TempDir(), "acme")); err != nil {
			t.Fatal(err)
		}
	}
	s.Manager = New(c)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { s.Run(ctx) })
	config := s.TLS()
	config.NextProtos = append([]string{"http/1.1"}, config.NextProtos...)
	all.Go(func() {
		for secure := tls.NewListener(ln, config); ; {
			conn, err := secure.Accept()
			if err != nil {
				return
			}
			all.Go(func() { _ = conn.(*tls.Conn).HandshakeContext(ctx); conn.Close() })
		}
	})
	s.stop = sync.OnceFunc(func() { cancel(); ln.Close(); all.Wait() })
	t.Cleanup(s.stop)
	return s
}

func readRoots(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	content, err := os.ReadFile(file)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(content) {
		t.Fatal(err)
	}
	return roots
}

// leaf returns the certificate that a client receives.
func (s *service) leaf(config *tls.Config) (*x509.Certificate, error) {
	conn, err := tls.Dial("tcp", s.addr, config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func (s *service) await(what string, yes func() bool) {
	s.Helper()
	defer func() {
		if s.Failed() {
			s.Log(s.log)
		}
	}()
	inboxtest.Until(s, what, yes)
}

func (s *service) awaitLine(pattern string) string {
	s.Helper()
	var found string
	s.await("the log contains "+pattern, func() bool {
		found = regexp.MustCompile("(?m)^.*" + pattern + ".*$").FindString(s.log.String())
		return found != ""
	})
	return found
}

// A client gets the certificate for the name that it asks for. A client that asks for no
// name, or an unknown one, gets the first. With a filled storage, a restart does not need
// the authority.
func TestIssue(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{})
	storage, err := NewDirectory(filepath.Join(t.TempDir(), "deep", "acme"))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"one.example.com", "two.example.com", "127.0.0.1"}
	s := start(t, a, Config{Names: names, Storage: storage})
	roots := a.Roots()
	trusted := func() bool {
		for _, name := range names {
			if _, err := s.leaf(&tls.Config{RootCAs: roots, ServerName: name}); err != nil {
				return false
			}
		}
		return true
	}
	s.await("all certificates are served", trusted)
	if n := a.Orders(); n != len(names) {
		t.Errorf("%d orders", n)
	}
	for asked, want := range map[string]string{"ONE.example.com": "one.example.com", "two.example.com": "two.example.com", "other.example.com": "127.0.0.1", "": "127.0.0.1"} {
		leaf, err := s.leaf(&tls.Config{InsecureSkipVerify: true, ServerName: asked})
		if err != nil || leaf.VerifyHostname(want) != nil {
			t.Errorf("a client that asks for %q gets %v, %v", asked, leaf, err)
		}
	}
	for _, c := range s.Certificates() {
		if time.Until(c.NotAfter) < 80*24*time.Hour || !c.Failed.IsZero() {
			t.Errorf("a certificate expires %v and failed %v", c.NotAfter, c.Failed)
		}
	}
	// Strangers get nothing through the challenge protocol.
	for _, asked := range []string{"one.example.com", "other.example.com", ""} {
		_, err := s.leaf(&tls.Config{InsecureSkipVerify: true, ServerName: asked, NextProtos: []string{"acme-tls/1"}})
		if err == nil && asked != "" {
			t.Errorf("an unknown challenge for %q was answered", asked)
		}
	}
	s.stop()
	// Tokens and thumbprints have 43 characters.
	if found := regexp.MustCompile(`[A-Za-z0-9_-]{40,}`).FindString(s.log.String()); found != "" {
		t.Errorf("the log contains %s", found)
	}

	again := start(t, a, Config{Names: names, Storage: storage})
	again.await("the stored certificates are served", trusted)
	if n := a.Orders(); n != len(names) {
		t.Errorf("%d orders after the second start", n)
	}
	again.stop()

	// Damaged files cause a new order.
	file := certmagic.StorageKeys.SiteCert(again.issuer.IssuerKey(), names[0])
	if err := storage.Store(t.Context(), file, []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	third := start(t, a, Config{Names: names, Storage: storage})
	third.await("all certificates are served again", trusted)
	if n := a.Orders(); n != len(names)+1 {
		t.Errorf("%d orders after a file was damaged", n)
	}
	third.awaitLine("stored certificate cannot be used")
}

// A name that fails validation is logged once, with what to check. The other names are
// served. Attempts continue until one succeeds, after a restart too.
func TestNameFailsValidation(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{Blocked: []string{"blocked.example.com"}})
	a.Fail("bad.example.com")
	a.Resolve("away.example.com", "127.0.0.3")
	storage, err := NewDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"bad.example.com", "away.example.com", "good.example.com", "blocked.example.com"}
	c := Config{Names: names, Storage: storage, Pause: func(int) time.Duration { return 50 * time.Millisecond }}
	s := start(t, a, c)
	roots := a.Roots()
	s.await("the good name is served", func() bool {
		_, err := s.leaf(&tls.Config{RootCAs: roots, ServerName: "good.example.com"})
		return err == nil
	})
	if leaf, err := s.leaf(&tls.Config{InsecureSkipVerify: true, ServerName: "bad.example.com"}); err != nil || leaf.VerifyHostname("good.example.com") != nil {
		t.Errorf("the bad name gets %v, %v", leaf, err)
	}
	s.awaitLine(`level=ERROR msg="no certificate: the authority finds no address.*check DNS.*name=bad.example.com`)
	s.awaitLine(`level=ERROR msg="no certificate: the authority cannot connect.*port 443.*name=away.example.com`)
	s.awaitLine(`level=ERROR msg="no certificate: the authority does not issue certificates for this name: check --tls-domain" name=blocked.example.com`)
	s.await("the bad name is tried several times", func() bool { return len(s.record(t.Context(), "bad.example.com").Failed) >= 3 })
	if n := strings.Count(s.log.String(), "level=ERROR"); n != 3 {
		t.Errorf("%d lines for 3 failures:\n%s", n, s.log)
	}
	if c := s.Certificates(); c[0].Failed.IsZero() || !c[0].NotAfter.IsZero() || !c[2].Failed.IsZero() {
		t.Errorf("the certificates: %+v", c)
	}
	s.await("the attempts of an hour are used up", func() bool { return len(s.record(t.Context(), "bad.example.com").Failed) == maxObtaining })
	s.stop()
	if found := regexp.MustCompile(`[A-Za-z0-9_-]{40,}`).FindString(s.log.String()); found != "" {
		t.Errorf("the log contains %s", found)
	}

	a.Recover("bad.example.com")
	again := start(t, a, c)
	line := again.awaitLine(`waiting to stay within the authority's limits.*name=bad.example.com`)
	if !strings.Contains(line, `next_attempt=59m`) && !strings.Contains(line, `next_attempt=1h`) {
		t.Error(line)
	}
	again.stop()

	// Simulate that the hour has passed.
	old := record{Failed: []time.Time{time.Now().Add(-2 * time.Hour)}}
	if err := storage.Store(t.Context(), recordKey("bad.example.com"), old.marshal()); err != nil {
		t.Fatal(err)
	}
	third := start(t, a, c)
	third.await("the failed name is served", func() bool {
		_, err := third.leaf(&tls.Config{RootCAs: roots, ServerName: "bad.example.com"})
		return err == nil
	})
	if r := third.record(t.Context(), "bad.example.com"); len(r.Failed) != 0 {
		t.Errorf("after a success, the record still has %v", r)
	}
}

// Certificates with a lifetime of seconds are replaced while the server runs, without
// refusing clients.
func TestRenew(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{Validity: 10 * time.Second})
	s := start(t, a, Config{Names: []string{"short.example.com"}})
	roots := a.Roots()
	serials := make(map[string]bool)
	refused := 0
	s.await("three certificates were served", func() bool {
		leaf, err := s.leaf(&tls.Config{RootCAs: roots, ServerName: "short.example.com"})
		switch {
		case err == nil:
			serials[leaf.SerialNumber.String()] = true
		case len(serials) > 0:
			refused++
		}
		return len(serials) == 3
	})
	if refused > 0 {
		t.Errorf("%d clients were refused during renewal", refused)
	}
	s.awaitLine(`msg="certificate issued" name=short.example.com renewal=true`)
}

// A server that was off until its certificate expired gets a new one immediately.
func TestStoredCertificateHasExpired(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{})
	storage, err := NewDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const name = "late.example.com"
	first := start(t, a, Config{Names: []string{name}, Storage: storage})
	first.await("the certificate is loaded", func() bool { return first.has(name) })
	key := first.issuer.IssuerKey()
	first.stop()
	cert, private := expired(t, name)
	for file, content := range map[string][]byte{
		certmagic.StorageKeys.SiteCert(key, name): cert, certmagic.StorageKeys.SitePrivateKey(key, name): private,
		certmagic.StorageKeys.SiteMeta(key, name): []byte(`{"sans": ["` + name + `"]}`),
	} {
		if err := storage.Store(t.Context(), file, content); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	s := start(t, a, Config{Names: []string{name}, Storage: storage})
	s.await("a new certificate is served", func() bool {
		_, err := s.leaf(&tls.Config{RootCAs: a.Roots(), ServerName: name})
		return err == nil
	})
	if took := time.Since(began); took > maxInterval {
		t.Errorf("it took %v", took)
	}
}

// expired returns a certificate that expired yesterday.
func expired(t *testing.T, name string) (cert, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().AddDate(0, 0, -91), NotAfter: time.Now().AddDate(0, 0, -1),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if private, err = certmagic.PEMEncodePrivateKey(key); err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), private
}

// Certificates that cannot be decrypted, such as those of another pepper, are ordered
// again.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{})
	files := &memory{files: make(map[string][]byte), locks: make(map[string]bool), foreign: make(map[string]bool)}
	for n := range 2 {
		s := start(t, a, Config{Names: []string{"shared.example.com"}, Storage: NewShared(files)})
		s.await("the certificate is served", func() bool {
			_, err := s.leaf(&tls.Config{RootCAs: a.Roots(), ServerName: "shared.example.com"})
			return err == nil
		})
		if got := a.Orders(); got != n+1 {
			t.Errorf("%d orders after %d starts", got, n+1)
		}
		s.stop()
		names, _ := files.Names(t.Context())
		for _, name := range names {
			files.foreign[name] = true
		}
		if len(files.locks) > 0 {
			t.Errorf("locks are still held: %v", files.locks)
		}
	}
}

// Challenges over plain HTTP are only answered for the server's own names.
func TestHTTPChallenge(t *testing.T) {
	t.Parallel()
	a := acmetest.Start(t, acmetest.Config{})
	over := http.Server{Handler: http.NotFoundHandler()}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(a.HTTPPort)))
	if err != nil {
		t.Fatal(err)
	}
	// Nothing listens where the authority connects to for a challenge over TLS.
	tlsPort := a.TLSPort
	a.TLSPort = acmetest.FreePort(t)
	s := start(t, a, Config{Names: []string{"plain.example.com"}, HTTP: true})
	over.Handler = s.Challenge(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "next") }))
	var serving sync.WaitGroup
	serving.Go(func() { over.Serve(ln) })
	defer serving.Wait()
	defer over.Close()
	if _, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(tlsPort))); err == nil {
		t.Fatal("something listens there")
	}
	s.await("the certificate is served", func() bool {
		_, err := s.leaf(&tls.Config{RootCAs: a.Roots(), ServerName: "plain.example.com"})
		return err == nil
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, host := range []string{"plain.example.com", "other.example.com"} {
		req, err := http.NewRequest(http.MethodGet, "http://"+ln.Addr().String()+"/.well-known/acme-challenge/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(body) != "next" {
			t.Errorf("%s: an unknown challenge: %q", host, body)
		}
	}
}
