package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"inbox/internal/acme"
)

// certificateFlags select the server's certificates.
type certificateFlags struct {
	TLS     string `name:"tls" default:"off" enum:"off,self-signed,files,acme" group:"TLS" help:"Source of the certificate. off: plain HTTP; self-signed: generate one and keep it across restarts, to try inbox on other devices; files: use --tls-cert and --tls-key; acme: order one from an authority such as Let's Encrypt, and agree to its terms."`
	TLSCert string `name:"tls-cert" type:"path" placeholder:"FILE" group:"TLS" help:"Certificate chain in PEM format. Reloaded when the file changes."`
	TLSKey  string `name:"tls-key" type:"path" placeholder:"FILE" group:"TLS" help:"Private key of --tls-cert in PEM format."`

	TLSDomain      []string `name:"tls-domain" sep:"," placeholder:"NAME" group:"TLS" help:"With acme: a public DNS name of this server. Repeatable."`
	TLSEmail       string   `name:"tls-email" placeholder:"ADDRESS" group:"TLS" help:"With acme: contact address for the authority."`
	TLSDirectory   string   `name:"tls-directory" default:"letsencrypt" placeholder:"URL" group:"TLS" help:"With acme: letsencrypt, letsencrypt-staging for tests, or the directory URL of another authority (default: letsencrypt)."`
	TLSDirectoryCA string   `name:"tls-directory-ca" type:"path" placeholder:"FILE" group:"TLS" help:"With acme: CA certificates in PEM format to verify the authority's own certificate with, instead of the system's roots."`
	TLSStorage     string   `name:"tls-storage" type:"path" placeholder:"DIR" group:"TLS" help:"With acme: where to keep certificates and keys. Default: the state directory of systemd or of the user. With Redis, they are kept there."`

	HTTPListen string `name:"http-listen" placeholder:"ADDRESS" group:"TLS" help:"Also listen for plain HTTP, as in :80, to redirect to https and to answer ACME challenges; or off. Default: :80 with acme, unless --listen is set."`
	HSTS       bool   `name:"hsts" group:"TLS" help:"Send Strict-Transport-Security, so that browsers use only https for a year. With acme and files."`
}

const (
	defaultDirectory = "letsencrypt"
	// maxDomains bounds --tls-domain. Each name gets a certificate, and authorities limit
	// how many they issue.
	maxDomains = 100
	// hstsHeader has the shortest max-age, a year, that browsers' preload lists accept.
	hstsHeader = "max-age=31536000"
)

// Replaced in tests, which may run in a container and must not wait for minutes.
var (
	checkStorage = acme.CheckDirectory
	retryPause   = acme.DefaultPause
)

// checkTLS rejects contradictory TLS settings.
func (c *serveCommand) checkTLS() error {
	switch {
	case c.TLS == "files" && (c.TLSCert == "" || c.TLSKey == ""):
		return errors.New("--tls files requires --tls-cert and --tls-key")
	case c.TLS != "files" && (c.TLSCert != "" || c.TLSKey != ""):
		return errors.New("--tls-cert and --tls-key require --tls files")
	case c.HSTS && c.TLS != "files" && c.TLS != "acme":
		return errors.New("--hsts requires --tls files or --tls acme: with any other certificate, browsers would refuse the server")
	case c.HTTPListen != "" && c.TLS == "off":
		return errors.New("--http-listen requires --tls: without TLS, --listen already serves plain HTTP")
	}
	if address, _ := c.httpListen(); address != "" {
		if _, _, err := splitAddress("--http-listen", address, "[HOST]:PORT, as in :80, or off"); err != nil {
			return err
		}
	}
	if c.TLS != "acme" {
		if len(c.TLSDomain) > 0 || c.TLSEmail != "" || c.TLSDirectory != defaultDirectory || c.TLSDirectoryCA != "" || c.TLSStorage != "" {
			return errors.New("--tls-domain, --tls-email, --tls-directory, --tls-directory-ca and --tls-storage require --tls acme")
		}
		return nil
	}
	return c.checkACME()
}

func (c *serveCommand) checkACME() error {
	directory, err := acme.Directory(c.TLSDirectory)
	switch {
	case err != nil:
		return fmt.Errorf("--tls-directory: %w", err)
	case len(c.TLSDomain) == 0:
		return errors.New("--tls acme requires --tls-domain, as in --tls-domain signal.example.com")
	case len(c.TLSDomain) > maxDomains:
		return fmt.Errorf("--tls-domain: %d names, want at most %d", len(c.TLSDomain), maxDomains)
	case c.TLSEmail != "" && (!strings.Contains(strings.Trim(c.TLSEmail, "@"), "@") || strings.ContainsAny(c.TLSEmail, " :<>,;")):
		return errors.New("--tls-email must be one email address, as in admin@example.com")
	case c.TLSStorage != "" && c.Store != inMemory:
		return errors.New("--tls-storage requires --store memory: with Redis, certificates are kept and shared there")
	case c.TLSStorage == "" && c.Store == inMemory && acmeDirectory() == "":
		return errors.New("--tls acme requires --tls-storage here: there is no state directory to keep certificates in")
	}
	for _, name := range c.TLSDomain {
		if _, err := acme.CheckName(strings.TrimSpace(name), directory); err != nil {
			return fmt.Errorf("--tls-domain: %w", err)
		}
	}
	return nil
}

// httpListen returns where to listen for plain HTTP, or "". The default address is
// optional: the server starts even if it cannot listen there.
func (c *serveCommand) httpListen() (address string, optional bool) {
	switch {
	case c.HTTPListen == "off":
		return "", false
	case c.HTTPListen == "" && len(c.Listen) == 0 && c.TLS == "acme":
		return ":80", true
	}
	return c.HTTPListen, false
}

// stateDir returns the state directory of systemd or of the user, or "".
func stateDir() string {
	// Set by systemd. It may list several directories.
	if list := filepath.SplitList(os.Getenv("STATE_DIRECTORY")); len(list) > 0 {
		return list[0]
	}
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "inbox")
}

// acmeDirectory returns where certificates are kept without --tls-storage, or "".
func acmeDirectory() string {
	if dir := stateDir(); dir != "" {
		return filepath.Join(dir, "acme")
	}
	return ""
}

// certificates are the server's certificates, whatever their source.
type certificates struct {
	config *tls.Config // nil without TLS

	// expiries returns what metrics may reveal about the certificates, which excludes
	// their names.
	expiries func() []acme.Certificate

	storage acme.Storage  // a directory, for acme
	manager *acme.Manager // for acme, once the server listens
}

// certificates loads or creates the certificates. For acme, it only checks that they can
// be ordered later.
func (c *serveCommand) certificates(log *slog.Logger) (*certificates, error) {
	switch c.TLS {
	case "self-signed":
		kept := &keptCertificate{file: c.selfSignedFile(), log: log}
		if _, err := kept.get(nil); err != nil {
			return nil, fmt.Errorf("cannot create a certificate: %w", err)
		}
		return &certificates{config: &tls.Config{GetCertificate: kept.get}, expiries: kept.expiries}, nil
	case "files":
		files := &certificateFiles{cert: c.TLSCert, key: c.TLSKey, log: log}
		if err := files.load(); err != nil {
			return nil, fmt.Errorf("cannot use the certificate: %w", err)
		}
		get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files.get(), nil }
		return &certificates{config: &tls.Config{GetCertificate: get}, expiries: files.expiries}, nil
	case "acme":
		return c.acmeStorage()
	}
	return &certificates{expiries: func() []acme.Certificate { return nil }}, nil
}

// acmeStorage checks that certificates can be stored, before the server takes its port.
func (c *serveCommand) acmeStorage() (*certificates, error) {
	if c.Store != inMemory {
		return &certificates{}, nil // stored in Redis
	}
	dir := c.TLSStorage
	if dir == "" {
		dir = acmeDirectory()
	}
	if err := checkStorage(dir); err != nil {
		return nil, err
	}
	storage, err := acme.NewDirectory(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot store certificates: --tls-storage: %w", err)
	}
	return &certificates{storage: storage}, nil
}

// open prepares the ACME manager. The authority connects to one of the listeners, and to
// plain if it is not nil.
func (certs *certificates) open(c *serveCommand, store *opened, listeners []net.Listener, plain net.Listener, log *slog.Logger) (err error) {
	if c.TLS != "acme" {
		return nil
	}
	config := acme.Config{Email: c.TLSEmail, Storage: certs.storage, HTTP: plain != nil, Pause: retryPause, Log: log}
	if config.Directory, err = acme.Directory(c.TLSDirectory); err != nil {
		return err
	}
	for _, domain := range c.TLSDomain {
		name, err := acme.CheckName(strings.TrimSpace(domain), config.Directory)
		if err != nil {
			return err
		}
		if !slices.Contains(config.Names, name) {
			config.Names = append(config.Names, name)
		}
	}
	if c.TLSDirectoryCA != "" {
		authorities, err := os.ReadFile(c.TLSDirectoryCA)
		if err != nil {
			return fmt.Errorf("--tls-directory-ca: %w", err)
		}
		config.Roots = x509.NewCertPool()
		if !config.Roots.AppendCertsFromPEM(authorities) {
			return fmt.Errorf("--tls-directory-ca: %s contains no PEM certificate", c.TLSDirectoryCA)
		}
	}
	if store.files != nil {
		config.Storage = acme.NewShared(store.files)
	}
	if config.Address = tcpAddress(listeners); config.Address == nil {
		return errors.New("--tls acme requires a TCP address in --listen: the authority connects to port 443")
	}
	// certmagic writes a few lines to the standard logger instead of the one that it is
	// given.
	stdlog.SetFlags(0)
	stdlog.SetOutput(debugWriter{log})
	certs.manager = acme.New(config)
	certs.config, certs.expiries = certs.manager.TLS(), certs.manager.Certificates
	return nil
}

// debugWriter logs each line at debug level, or at error level if it reports a panic.
type debugWriter struct{ log *slog.Logger }

func (d debugWriter) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(line, []byte("panic")) {
		level = slog.LevelError
	}
	d.log.Log(context.Background(), level, strings.TrimSpace(string(line)))
	return len(line), nil
}

// tcpAddress returns the first TCP address of the listeners, or nil.
func tcpAddress(listeners []net.Listener) *net.TCPAddr {
	for _, ln := range listeners {
		if address, ok := ln.Addr().(*net.TCPAddr); ok {
			return address
		}
	}
	return nil
}

// run orders and renews the certificates until stop is called. stop waits until the locks
// are released.
func (certs *certificates) run() (stop func()) {
	if certs.manager == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		certs.manager.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// expiries returns the expiry of the certificate in the files.
func (f *certificateFiles) expiries() []acme.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []acme.Certificate{{NotAfter: f.current.Leaf.NotAfter, Failed: f.failed}}
}

// expiries returns the expiry of the self-signed certificate.
func (k *keptCertificate) expiries() []acme.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	return []acme.Certificate{{NotAfter: k.current.Leaf.NotAfter}}
}

// withHSTS adds Strict-Transport-Security to every response if --hsts is set.
func (c *serveCommand) withHSTS(next http.Handler) http.Handler {
	if !c.HSTS {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Strict-Transport-Security"] = []string{hstsHeader}
		next.ServeHTTP(w, r)
	})
}
