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

// certificateFlags say where the server's certificates come from.
type certificateFlags struct {
	TLS     string `name:"tls" default:"off" enum:"off,self-signed,files,acme" group:"TLS" help:"Off; self-signed: with a certificate of its own, kept for the next start, for trying out on other devices; files: with --tls-cert and --tls-key; acme: with certificates of an authority such as Let's Encrypt, to whose terms you agree with it."`
	TLSCert string `name:"tls-cert" type:"path" placeholder:"FILE" group:"TLS" help:"Certificate chain, PEM. It is read again when it changes."`
	TLSKey  string `name:"tls-key" type:"path" placeholder:"FILE" group:"TLS" help:"Its private key, PEM."`

	TLSDomain      []string `name:"tls-domain" sep:"," placeholder:"NAME" group:"TLS" help:"With acme: a name of this server, which DNS has to lead here. Repeatable."`
	TLSEmail       string   `name:"tls-email" placeholder:"ADDRESS" group:"TLS" help:"With acme: where the authority may write to."`
	TLSDirectory   string   `name:"tls-directory" default:"letsencrypt" placeholder:"URL" group:"TLS" help:"With acme: the authority: letsencrypt, letsencrypt-staging for trying out, or the address of another one's directory (default: letsencrypt)."`
	TLSDirectoryCA string   `name:"tls-directory-ca" type:"path" placeholder:"FILE" group:"TLS" help:"With acme: what the certificate of that address is checked against, PEM, instead of the system's roots."`
	TLSStorage     string   `name:"tls-storage" type:"path" placeholder:"DIR" group:"TLS" help:"With acme: keeps the certificates and their keys. Default: in the state directory of systemd or of the user; with redis, servers keep them there."`

	HTTPListen string `name:"http-listen" placeholder:"ADDRESS" group:"TLS" help:"Where to listen for plain HTTP, as in :80, to redirect it to https and to answer an authority. Default: :80 with acme, unless --listen is set; off: nowhere."`
	HSTS       bool   `name:"hsts" group:"TLS" help:"Tell browsers to come by https only, for a year. With acme and files."`
}

const (
	defaultDirectory = "letsencrypt"
	// mostDomains bounds the names: each has a certificate, and the authority counts them.
	mostDomains = 100
	// hstsHeader has the shortest time that browsers' lists accept.
	hstsHeader = "max-age=31536000"
)

// What the tests replace: they may run in a container, and do not wait for minutes.
var (
	checkStorage = acme.CheckDirectory
	retryPause   = acme.DefaultPause
)

// checkTLS refuses settings of TLS that contradict each other.
func (c *serveCommand) checkTLS() error {
	switch {
	case c.TLS == "files" && (c.TLSCert == "" || c.TLSKey == ""):
		return errors.New("--tls files needs --tls-cert and --tls-key")
	case c.TLS != "files" && (c.TLSCert != "" || c.TLSKey != ""):
		return errors.New("--tls-cert and --tls-key go with --tls files")
	case c.HSTS && c.TLS != "files" && c.TLS != "acme":
		return errors.New("--hsts goes with --tls files and --tls acme: with another certificate, browsers would refuse the server")
	case c.HTTPListen != "" && c.TLS == "off":
		return errors.New("--http-listen goes with --tls: without it, --listen is plain HTTP")
	}
	if address, _ := c.httpListen(); address != "" {
		if _, port, err := net.SplitHostPort(address); err != nil {
			return errors.New("--http-listen is [HOST]:PORT, as in :80, or off")
		} else if _, err := net.LookupPort("tcp", port); err != nil {
			return fmt.Errorf("--http-listen: port %q is not a number from 0 to 65535", port)
		}
	}
	if c.TLS != "acme" {
		if len(c.TLSDomain) > 0 || c.TLSEmail != "" || c.TLSDirectory != defaultDirectory || c.TLSDirectoryCA != "" || c.TLSStorage != "" {
			return errors.New("--tls-domain, --tls-email, --tls-directory, --tls-directory-ca and --tls-storage go with --tls acme")
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
		return errors.New("--tls acme needs --tls-domain, as in signal.example.com")
	case len(c.TLSDomain) > mostDomains:
		return fmt.Errorf("--tls-domain: %d names, want at most %d", len(c.TLSDomain), mostDomains)
	case c.TLSEmail != "" && (!strings.Contains(strings.Trim(c.TLSEmail, "@"), "@") || strings.ContainsAny(c.TLSEmail, " :<>,;")):
		return errors.New("--tls-email is one address, as in admin@example.com")
	case c.TLSStorage != "" && c.Store != inMemory:
		return errors.New("--tls-storage goes with --store memory: with redis, the servers share their certificates through it")
	case c.TLSStorage == "" && c.Store == inMemory && acmeDirectory() == "":
		return errors.New("--tls acme needs --tls-storage here: there is no state directory to keep certificates in")
	}
	for _, name := range c.TLSDomain {
		if _, err := acme.CheckName(strings.TrimSpace(name), directory); err != nil {
			return fmt.Errorf("--tls-domain: %w", err)
		}
	}
	return nil
}

// httpListen is where to listen for plain HTTP, or "". The server can do without one that
// nobody has asked for.
func (c *serveCommand) httpListen() (address string, optional bool) {
	switch {
	case c.HTTPListen == "off":
		return "", false
	case c.HTTPListen == "" && len(c.Listen) == 0 && c.TLS == "acme":
		return ":80", true
	}
	return c.HTTPListen, false
}

// stateDir is the state directory of systemd or of the user, or "" if there is none.
func stateDir() string {
	// Of systemd; the first, if there are several.
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

// acmeDirectory is where certificates are kept unless --tls-storage says otherwise, or "".
func acmeDirectory() string {
	if dir := stateDir(); dir != "" {
		return filepath.Join(dir, "acme")
	}
	return ""
}

// certificates are those of the server, wherever they come from.
type certificates struct {
	config *tls.Config // nil without TLS

	// expiries tells what may be told of them: not their names.
	expiries func() []acme.Certificate

	storage acme.Storage  // in a directory, for acme
	manager *acme.Manager // for acme, once the server listens
}

// certificates makes them, or finds out whether it can later.
func (c *serveCommand) certificates(log *slog.Logger) (*certificates, error) {
	switch c.TLS {
	case "self-signed":
		kept := &keptCertificate{file: c.selfSignedFile(), log: log}
		if _, err := kept.get(nil); err != nil {
			return nil, fmt.Errorf("cannot make a certificate: %w", err)
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

// acmeStorage finds out, before the port is taken, whether certificates can be kept.
func (c *serveCommand) acmeStorage() (*certificates, error) {
	if c.Store != inMemory {
		return &certificates{}, nil // in Redis
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
		return nil, fmt.Errorf("certificates cannot be kept: --tls-storage: %w", err)
	}
	return &certificates{storage: storage}, nil
}

// open prepares to get certificates from an authority, which connects to one of the
// listeners, and over plain HTTP if plain is not nil.
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
			return fmt.Errorf("--tls-directory-ca: %s holds no certificate in PEM", c.TLSDirectoryCA)
		}
	}
	if store.files != nil {
		config.Storage = acme.NewShared(store.files)
	}
	if config.Address = tcpAddress(listeners); config.Address == nil {
		return errors.New("--tls acme needs a TCP address to listen on: an authority connects to port 443")
	}
	// Of certmagic, a few lines go past the logger that it is given.
	stdlog.SetFlags(0)
	stdlog.SetOutput(debugWriter{log})
	certs.manager = acme.New(config)
	certs.config, certs.expiries = certs.manager.TLS(), certs.manager.Certificates
	return nil
}

// debugWriter logs lines for debugging, but for those that tell of a panic.
type debugWriter struct{ log *slog.Logger }

func (d debugWriter) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(line, []byte("panic")) {
		level = slog.LevelError
	}
	d.log.Log(context.Background(), level, strings.TrimSpace(string(line)))
	return len(line), nil
}

// tcpAddress is the first address that is one of TCP, or nil.
func tcpAddress(listeners []net.Listener) *net.TCPAddr {
	for _, ln := range listeners {
		if address, ok := ln.Addr().(*net.TCPAddr); ok {
			return address
		}
	}
	return nil
}

// run gets the certificates and renews them until stop is called, which waits until the
// locks are given back.
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

// expiries implements certificates.expiries.
func (f *certificateFiles) expiries() []acme.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []acme.Certificate{{NotAfter: f.current.Leaf.NotAfter, Failed: f.failed}}
}

// expiries implements certificates.expiries.
func (k *keptCertificate) expiries() []acme.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	return []acme.Certificate{{NotAfter: k.current.Leaf.NotAfter}}
}

// withHSTS has browsers come by https only, if the operator wants so.
func (c *serveCommand) withHSTS(next http.Handler) http.Handler {
	if !c.HSTS {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Strict-Transport-Security"] = []string{hstsHeader}
		next.ServeHTTP(w, r)
	})
}
