// Package acme obtains certificates from an authority that supports ACME (RFC 8555), such
// as Let's Encrypt, and renews them while the server runs. A Manager does both in Run and
// serves the certificates through the configuration returned by TLS. The protocol itself
// is implemented by certmagic.
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

// Config configures a Manager.
type Config struct {
	// Names are the server's names, as returned by CheckName. Each gets its own
	// certificate.
	Names []string
	// Email is the contact address for the authority. It is optional.
	Email string
	// Directory is the URL of the authority, as returned by the function Directory.
	Directory string
	// Roots verify the authority's own certificate. By default the system's roots are
	// used.
	Roots *x509.CertPool
	// Storage keeps the certificates, their keys and the account. See NewDirectory and
	// NewShared.
	Storage Storage
	// Address is where the server listens for TLS.
	Address *net.TCPAddr
	// HTTP means that the server also answers challenges over plain HTTP; see Challenge.
	HTTP bool
	// Pause returns how long to wait after a number of failures in a row. The default is
	// DefaultPause.
	Pause func(failures int) time.Duration
	Log   *slog.Logger
}

// A Manager obtains and renews the certificates of a server. Create one with New and call
// Run. Its methods are safe for concurrent use.
type Manager struct {
	Config

	names   []string // IP addresses first, since clients that use one send no name
	config  *certmagic.Config
	cache   *certmagic.Cache
	issuer  *certmagic.ACMEIssuer
	storage *holding
	clock   *http.Client  // to compare clocks with the authority
	changed chan struct{} // signals that a certificate was cached

	// placeholder is a self-signed certificate for health checks that connect before
	// there is any certificate. Clients that ask for a name of the server never get it.
	placeholder func() (*tls.Certificate, error)

	mu       sync.Mutex // guards the fields below
	failures map[string]failure
	troubled time.Time // when trouble was last logged
}

// New returns a Manager. It does nothing until Run is called.
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
		RenewCheckInterval: never, // the method renew does this as often as the certificates require
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

// never is an interval that does not elapse.
const never = 100 * 365 * 24 * time.Hour

// rank sorts addresses before names.
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
		// Before a challenge, certmagic checks whether something listens on the port, and
		// would otherwise listen itself. The server answers all challenges on its own
		// address.
		ListenHost: m.Address.IP.String(), AltTLSALPNPort: m.Address.Port, AltHTTPPort: m.Address.Port,
	}
	if m.Address.IP.IsUnspecified() {
		issuer.ListenHost = ""
	}
	if issuer.Email == "" {
		issuer.Email = " " // prevents certmagic from asking for an address; it trims this later
	}
	if m.Directory == letsEncrypt {
		// After a failure, certmagic tries the staging authority first, which has higher
		// limits.
		issuer.TestCA = letsEncryptStaging
	}
	if isLetsEncrypt(m.Directory) && slices.ContainsFunc(m.Names, isAddress) {
		issuer.Profile = "shortlived" // required for addresses
	}
	return issuer
}

// TLS returns a configuration that serves the certificates. Its NextProtos contain only
// the protocol of challenges; the server must put its own first.
func (m *Manager) TLS() *tls.Config {
	return &tls.Config{GetCertificate: m.certificate, NextProtos: []string{acmez.ACMETLS1Protocol}}
}

var errNotOurs = errors.New("challenge for a name that is not this server's")

// certificate selects the certificate for a handshake. If the client names no server, or
// one without a certificate, it gets the first certificate.
func (m *Manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol}) {
		// Do not look up names in the storage that strangers make up.
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

// isReverse reports whether name is how an authority refers to an IP address in a
// challenge (RFC 8738).
func isReverse(name string) bool {
	return strings.HasSuffix(name, ".in-addr.arpa") || strings.HasSuffix(name, ".ip6.arpa")
}

// fallback returns the first name that has a certificate, or the first name.
func (m *Manager) fallback() string {
	for _, name := range m.names {
		if m.has(name) {
			return name
		}
	}
	return m.names[0]
}

// Challenge answers the authority's challenges over plain HTTP and passes all other
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

// Run obtains and renews certificates until ctx ends, and then releases its locks.
// Certificates can still be served afterwards.
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

// obtain loads the certificate of a name, or orders one, and retries until it has one.
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
				m.Log.Warn("the stored certificate cannot be used: ordering a new one", "name", name, "error", err)
				continue
			}
			m.trouble(err)
			sleep(ctx, troublePause)
			continue
		}
		if obtained { // but it is not in the storage
			m.trouble(err)
			sleep(ctx, troublePause)
		}
		record, last := m.record(ctx, name), m.failure(name)
		if wait := record.wait(time.Now(), m.Pause, last); wait > 0 {
			if last.count == 0 {
				m.Log.Warn("attempts to get a certificate failed before this start: waiting to stay within the authority's limits",
					"name", name, "failures", len(record.Failed), "next_attempt", inWords(wait))
			}
			sleep(ctx, wait)
		}
		// certmagic uses the staging authority except on a first attempt. Every fourth
		// attempt counts as a first one, in case only the staging authority has problems.
		attempts := max(len(record.Failed), last.count) % 4
		counted := context.WithValue(ctx, certmagic.AttemptsCtxKey, &attempts)
		err = m.config.ObtainCertSync(counted, name)
		if obtained = err == nil; !obtained && ctx.Err() == nil && m.failure(name).count == last.count {
			m.trouble(err)
			sleep(ctx, troublePause)
		}
	}
}

// discard removes the files of a certificate if all of them are readable: then their
// content is the problem, not the storage.
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
	// maxInterval bounds the time between checks for renewal.
	maxInterval = 10 * time.Minute
	// cleanInterval is how often certificates that expired long ago are removed from the
	// storage.
	cleanInterval = 24 * time.Hour
	keepFor       = 30 * 24 * time.Hour
)

// renew renews each certificate after two thirds of its lifetime, or earlier if the
// authority asks for it.
func (m *Manager) renew(ctx context.Context) {
	clean := time.NewTicker(cleanInterval)
	defer clean.Stop()
	for {
		interval := m.interval()
		select {
		case <-time.After(interval):
		case <-m.changed: // a stored certificate may have expired long ago
		case <-clean.C:
			_ = certmagic.CleanStorage(ctx, m.storage, certmagic.CleanStorageOptions{
				Logger: m.config.Logger, Interval: cleanInterval / 2, OCSPStaples: true, ExpiredCerts: true, ExpiredCertGracePeriod: keepFor,
			})
		case <-ctx.Done():
			return
		}
		// certmagic subtracts the interval from the time that the authority suggests.
		m.cache.SetOptions(certmagic.CacheOptions{
			GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.config, nil },
			RenewCheckInterval: m.interval(), Logger: m.config.Logger,
		})
		if err := m.cache.RenewManagedCertificates(ctx); err != nil {
			m.trouble(err)
		}
	}
}

// interval returns how long to wait before the next check: a thirtieth of the shortest
// certificate lifetime, within bounds.
func (m *Manager) interval() time.Duration {
	interval := maxInterval
	for _, name := range m.names {
		for _, cert := range m.cache.AllMatchingCertificates(name) {
			interval = min(interval, cert.Lifetime()/30)
		}
	}
	return max(interval, time.Second)
}

// A Certificate is the status of a certificate without its name.
type Certificate struct {
	NotAfter time.Time // zero if there is no certificate yet
	Failed   time.Time // when the last attempt failed; zero after a success
}

// Certificates returns the status of each of the server's certificates, in the order of
// Config.Names.
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
