// Package acme gets certificates from an authority that speaks ACME (RFC 8555), such as
// Let's Encrypt, and renews them while the server runs.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"
)

// Config says which certificates a server needs, and from whom.
type Config struct {
	// Names are the server's, as CheckName returns them. Each gets a certificate.
	Names []string
	// Email is where the authority writes to; none.
	Email string
	// Directory is the address of the authority: see Directory.
	Directory string
	// Roots are what the directory's own certificate is checked against; the system's.
	Roots *x509.CertPool
	// Storage keeps the certificates, their keys and the account: NewDirectory or
	// NewShared.
	Storage Storage
	// Address is where the server listens for TLS.
	Address *net.TCPAddr
	// HTTP says that the server answers challenges over plain HTTP too: see Challenge.
	HTTP bool
	// Pause returns how long to wait after so many failures in a row; DefaultPause.
	Pause func(failures int) time.Duration
	Log   *slog.Logger
}

// A Manager gets the certificates of a server and renews them. Make one with New, and Run
// it. Its methods are safe for concurrent use.
type Manager struct {
	Config

	names   []string // addresses first: their clients send no name
	config  *certmagic.Config
	cache   *certmagic.Cache
	issuer  *certmagic.ACMEIssuer
	storage *holding
	clock   *http.Client  // asks the authority for the time
	changed chan struct{} // a certificate was cached

	// placeholder is for those who look whether the server is alive, as orchestrators do,
	// while there is no certificate at all. Clients that ask for a name never get it.
	placeholder func() (*tls.Certificate, error)

	mu       sync.Mutex // guards what follows
	failures map[string]failure
	troubled time.Time // when trouble was logged last
}

// New returns a manager that does nothing yet.
func New(c Config) *Manager {
	if c.Pause == nil {
		c.Pause = DefaultPause
	}
	m := &Manager{
		Config: c, storage: &holding{Storage: c.Storage}, failures: make(map[string]failure), changed: make(chan struct{}, 1),
		clock: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: c.Roots}, DisableKeepAlives: true,
		}},
	}
	m.placeholder = sync.OnceValues(func() (*tls.Certificate, error) { return selfSigned(time.Now()) })
	m.names = slices.Clone(c.Names)
	slices.SortStableFunc(m.names, func(a, b string) int { return rank(a) - rank(b) })
	logger := zap.New(&bridge{log: c.Log, trouble: m.trouble})
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.config, nil },
		RenewCheckInterval: never, // renew does it, as often as the certificates need
		Logger:             logger,
	})
	m.config = certmagic.New(m.cache, certmagic.Config{
		Storage: m.storage, Logger: logger, OnEvent: m.event,
		ShouldEmitFunc: func(event string) bool { return event != "tls_get_certificate" },
	})
	m.issuer = certmagic.NewACMEIssuer(m.config, m.template(logger))
	m.config.Issuers = []certmagic.Issuer{m.issuer}
	return m
}

// never is an interval at which nothing happens.
const never = 100 * 365 * 24 * time.Hour

// rank puts addresses before names.
func rank(name string) int {
	if isAddress(name) {
		return 0
	}
	return 1
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

func (m *Manager) template(logger *zap.Logger) certmagic.ACMEIssuer {
	issuer := certmagic.ACMEIssuer{
		CA: m.Directory, Email: m.Email, Agreed: true, TrustedRoots: m.Roots, Logger: logger,
		DisableHTTPChallenge: !m.HTTP,
		// Before a challenge certmagic looks whether somebody listens, and would listen
		// itself otherwise. We do, for all challenges.
		ListenHost: m.Address.IP.String(), AltTLSALPNPort: m.Address.Port, AltHTTPPort: m.Address.Port,
	}
	if m.Address.IP.IsUnspecified() {
		issuer.ListenHost = ""
	}
	if issuer.Email == "" {
		issuer.Email = " " // which certmagic trims, after it has seen that it need not ask for one
	}
	if m.Directory == letsEncrypt {
		// What has failed once is tried there first, which does not count.
		issuer.TestCA = letsEncryptStaging
	}
	if isLetsEncrypt(m.Directory) && slices.ContainsFunc(m.Names, isAddress) {
		issuer.Profile = "shortlived" // it issues no others for addresses
	}
	return issuer
}

// TLS returns the configuration of a server with these certificates. Its NextProtos are
// those of challenges; the server's own go before them.
func (m *Manager) TLS() *tls.Config {
	return &tls.Config{GetCertificate: m.certificate, NextProtos: []string{acmez.ACMETLS1Protocol}}
}

var errNotOurs = errors.New("a challenge for a name that is none of ours")

// certificate chooses the certificate for a handshake. A client that names no server, or
// one that has no certificate, gets the first there is.
func (m *Manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol}) {
		// What strangers name is not looked up in the storage.
		if !slices.Contains(m.names, name) && !(isReverse(name) && slices.ContainsFunc(m.names, isAddress)) {
			return nil, errNotOurs
		}
		return m.config.GetCertificate(hello)
	}
	h := *hello
	if h.ServerName = name; !m.has(name) {
		h.ServerName = m.fallback()
	}
	if !m.has(h.ServerName) && !slices.Contains(m.names, name) {
		return m.placeholder()
	}
	return m.config.GetCertificate(&h)
}

func (m *Manager) has(name string) bool { return len(m.cache.AllMatchingCertificates(name)) > 0 }

// isReverse tells what an authority calls an address in a challenge (RFC 8738).
func isReverse(name string) bool {
	return strings.HasSuffix(name, ".in-addr.arpa") || strings.HasSuffix(name, ".ip6.arpa")
}

// fallback is the first name that has a certificate, or the first.
func (m *Manager) fallback() string {
	for _, name := range m.names {
		if m.has(name) {
			return name
		}
	}
	return m.names[0]
}

// Challenge answers the challenges of the authority over plain HTTP, and hands all other
// requests to next.
func (m *Manager) Challenge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if host = strings.ToLower(strings.Trim(host, "[]")); slices.Contains(m.names, host) && m.issuer.HandleHTTPChallenge(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Run gets the certificates and renews them until ctx ends. Then it gives its locks back;
// certificates that are there can still be served.
func (m *Manager) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, name := range m.names {
		all.Go(func() { m.obtain(ctx, name) })
	}
	all.Go(func() { m.renew(ctx) })
	all.Wait()
	m.cache.Stop()
	m.storage.wait()
}

// obtain loads the certificate of a name, or orders one, until there is one.
func (m *Manager) obtain(ctx context.Context, name string) {
	for obtained := false; ctx.Err() == nil; {
		cert, err := m.config.CacheManagedCertificate(ctx, name)
		if err == nil {
			m.forget(name)
			m.Log.Info("certificate loaded", "name", name, "until", cert.Leaf.NotAfter)
			return
		}
		if !errors.Is(err, fs.ErrNotExist) {
			if m.discard(ctx, name) {
				m.Log.Warn("the stored certificate cannot be used: ordering another", "name", name, "error", err)
				continue
			}
			m.trouble(err)
			sleep(ctx, troublePause)
			continue
		}
		if obtained { // and it is not there
			m.trouble(err)
			sleep(ctx, troublePause)
		}
		record, last := m.record(ctx, name), m.failure(name)
		if wait := record.wait(time.Now(), m.Pause, last); wait > 0 {
			if last.count == 0 {
				m.Log.Warn("attempts to get a certificate have failed before this start: waiting, so that the authority does not refuse",
					"name", name, "failures", len(record.Failed), "next_attempt", inWords(wait))
			}
			sleep(ctx, wait)
		}
		// certmagic takes the staging authority unless it is told that this is the first
		// attempt: each fourth counts as one, should staging alone be in trouble.
		attempts := max(len(record.Failed), last.count) % 4
		counted := context.WithValue(ctx, certmagic.AttemptsCtxKey, &attempts)
		err = m.config.ObtainCertSync(counted, name)
		if obtained = err == nil; !obtained && ctx.Err() == nil && m.failure(name).count == last.count {
			m.trouble(err)
			sleep(ctx, troublePause)
		}
	}
}

// discard removes the files of a certificate if all can be read: then it is what they
// say that is wrong.
func (m *Manager) discard(ctx context.Context, name string) bool {
	key := m.issuer.IssuerKey()
	for _, file := range []string{
		certmagic.StorageKeys.SiteCert(key, name), certmagic.StorageKeys.SitePrivateKey(key, name), certmagic.StorageKeys.SiteMeta(key, name),
	} {
		if _, err := m.storage.Load(ctx, file); err != nil {
			return false
		}
	}
	return m.storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(key, name)) == nil
}

const (
	// mostInterval is between two looks whether certificates are to be renewed.
	mostInterval = 10 * time.Minute
	// cleanEach is how often what has expired long ago is removed from the storage.
	cleanEach = 24 * time.Hour
	keepFor   = 30 * 24 * time.Hour
)

// renew renews all certificates, each after two thirds of its time, or when the authority
// says so.
func (m *Manager) renew(ctx context.Context) {
	clean := time.NewTicker(cleanEach)
	defer clean.Stop()
	for {
		interval := m.interval()
		select {
		case <-time.After(interval):
		case <-m.changed: // what was stored may have ended long ago
		case <-clean.C:
			_ = certmagic.CleanStorage(ctx, m.storage, certmagic.CleanStorageOptions{
				Logger: m.config.Logger, Interval: cleanEach / 2, OCSPStaples: true, ExpiredCerts: true, ExpiredCertGracePeriod: keepFor,
			})
		case <-ctx.Done():
			return
		}
		// certmagic takes the interval off what the authority suggests.
		m.cache.SetOptions(certmagic.CacheOptions{
			GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.config, nil },
			RenewCheckInterval: m.interval(), Logger: m.config.Logger,
		})
		if err := m.cache.RenewManagedCertificates(ctx); err != nil {
			m.trouble(err)
		}
	}
}

// interval is how long to wait before the next look: a thirtieth of the shortest
// certificate's time, within bounds.
func (m *Manager) interval() time.Duration {
	interval := mostInterval
	for _, name := range m.names {
		for _, cert := range m.cache.AllMatchingCertificates(name) {
			interval = min(interval, cert.Lifetime()/30)
		}
	}
	return max(interval, time.Second)
}

// A Certificate is what may be told of one: not its name.
type Certificate struct {
	NotAfter time.Time // zero if there is none yet
	Failed   time.Time // when the last attempt failed, if none has succeeded since
}

// Certificates returns one for each name of the server.
func (m *Manager) Certificates() []Certificate {
	all := make([]Certificate, len(m.Names))
	for i, name := range m.Names {
		for _, cert := range m.cache.AllMatchingCertificates(name) {
			if cert.Leaf.NotAfter.After(all[i].NotAfter) {
				all[i].NotAfter = cert.Leaf.NotAfter
			}
			if !cert.NeedsRenewal(m.config) {
				m.forget(name) // another server may have renewed it
			}
		}
		all[i].Failed = m.failure(name).at
	}
	return all
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
