package inboxtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// A Certificate is valid for localhost and 127.0.0.1 for an hour.
type Certificate struct {
	Pair      tls.Certificate
	Cert, Key []byte // Pair in PEM form
	Authority []byte // the signing certificate, in PEM form
	Pool      *x509.CertPool
}

// NewCertificate returns a self-signed Certificate with the given name as its subject.
func NewCertificate(tb testing.TB, name string) Certificate {
	tb.Helper()
	key := newKey(tb)
	template := leaf(name, nil)
	der := sign(tb, template, template, key, key)
	return newCertificate(tb, der, der, key)
}

// IssueCertificate returns a Certificate signed by a new authority. It is valid for the
// given hosts too.
func IssueCertificate(tb testing.TB, hosts ...string) Certificate {
	tb.Helper()
	authorityKey, key := newKey(tb), newKey(tb)
	authority := leaf("authority", nil)
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authorityDER := sign(tb, authority, authority, authorityKey, authorityKey)
	return newCertificate(tb, sign(tb, leaf("localhost", hosts), authority, key, authorityKey), authorityDER, key)
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func leaf(name string, hosts []string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     append([]string{"localhost"}, hosts...),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
}

func sign(tb testing.TB, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func newCertificate(tb testing.TB, der, authority []byte, key *ecdsa.PrivateKey) Certificate {
	tb.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	c := Certificate{
		Cert:      pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:       pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		Authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority}),
		Pool:      x509.NewCertPool(),
	}
	if c.Pair, err = tls.X509KeyPair(c.Cert, c.Key); err != nil {
		tb.Fatal(err)
	}
	if !c.Pool.AppendCertsFromPEM(c.Authority) {
		tb.Fatal("cannot parse the authority")
	}
	return c
}
