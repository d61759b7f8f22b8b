package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	selfSignedName = "inbox, self-signed"
	selfSignedDays = 90

	// renewBefore is how long before its expiry a certificate is replaced.
	renewBefore = 7 * 24 * time.Hour
)

// selfSignedFile returns where --tls self-signed keeps its certificate and key: next to
// the snapshot, or in the state directory of systemd or of the user. It returns "" if
// there is neither.
func (c *serveCommand) selfSignedFile() string {
	if c.Snapshot != "" {
		return c.Snapshot + ".tls.pem"
	}
	if dir := stateDir(); dir != "" {
		return filepath.Join(dir, "self-signed.tls.pem")
	}
	return ""
}

// A keptCertificate is a self-signed certificate that is kept across restarts. Users who
// have accepted it would have to accept a new one, and open pages would lose the server
// until they are reloaded.
type keptCertificate struct {
	file string // empty: not kept
	log  *slog.Logger

	mu      sync.Mutex // guards current
	current *tls.Certificate
}

// get returns the current certificate, the one from the file, or a new one. It is safe
// for concurrent use.
func (k *keptCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.current != nil && now.Before(k.current.Leaf.NotAfter.Add(-renewBefore)) {
		return k.current, nil
	}
	needed := ourNames()
	if k.current == nil && k.file != "" {
		kept, why := readSelfSigned(k.file, needed, now)
		if why == nil {
			k.log.Info("using the self-signed certificate of the last start", "file", k.file, "until", kept.Leaf.NotAfter)
			k.current = kept
			return kept, nil
		}
		if !errors.Is(why, fs.ErrNotExist) {
			k.log.Info("replacing the self-signed certificate: browsers will ask again", "file", k.file, "reason", why)
		}
	}
	made, content, err := selfSigned(needed, now)
	if err != nil {
		return nil, err
	}
	k.current = made
	if k.file == "" {
		k.log.Warn("the self-signed certificate is not kept, so browsers will ask again after a restart: set --snapshot or XDG_STATE_HOME")
	} else if err := writePrivate(k.file, content); err != nil {
		k.log.Warn("cannot keep the self-signed certificate, so browsers will ask again after a restart", "error", err)
	} else {
		k.log.Info("kept the self-signed certificate and its key for the next start", "file", k.file)
	}
	return made, nil
}

// names are the hosts and addresses that a certificate covers.
type names struct {
	hosts     []string
	addresses []net.IP
}

// ourNames returns localhost, this machine's name and its addresses.
func ourNames() names {
	n := names{hosts: []string{"localhost"}, addresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		n.hosts = append(n.hosts, name)
	}
	for _, address := range machineAddresses() {
		n.addresses = append(n.addresses, net.ParseIP(address))
	}
	return n
}

// missing returns a name that cert does not cover, or "". It ignores IPv6 addresses: many
// machines get a new one each day, and browsers ask once per address anyway.
func (n names) missing(cert *x509.Certificate) string {
	for _, host := range n.hosts {
		if cert.VerifyHostname(host) != nil {
			return host
		}
	}
	for _, address := range n.addresses {
		if address.To4() != nil && cert.VerifyHostname(address.String()) != nil {
			return address.String()
		}
	}
	return ""
}

// readSelfSigned reads a certificate and its key. The error explains why they cannot be
// used.
func readSelfSigned(file string, needed names, now time.Time) (*tls.Certificate, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("its mode is %v, want -rw-------: others may have read the key", mode)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(content, content)
	if err != nil {
		return nil, err
	}
	switch leaf := cert.Leaf; {
	case leaf.Subject.CommonName != selfSignedName:
		return nil, fmt.Errorf("it was not created by inbox, but for %q", leaf.Subject.CommonName)
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("it is not valid before %v", leaf.NotBefore)
	case !now.Before(leaf.NotAfter.Add(-renewBefore)):
		return nil, fmt.Errorf("it expires %v", leaf.NotAfter)
	case needed.missing(leaf) != "":
		return nil, fmt.Errorf("it does not cover %s", needed.missing(leaf))
	}
	return &cert, nil
}

// selfSigned creates a certificate and returns it with the content of its file. Browsers
// warn about it once. Then they treat the page as secure and allow the camera.
func selfSigned(n names, now time.Time) (*tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: selfSignedName},
		DNSNames:     n.hosts,
		IPAddresses:  n.addresses,
		NotBefore:    now.Add(-time.Hour), // for clients whose clocks are slow
		NotAfter:     now.AddDate(0, 0, selfSignedDays),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	var content bytes.Buffer
	for kind, der := range map[string][]byte{"CERTIFICATE": der, "PRIVATE KEY": private} {
		if err := pem.Encode(&content, &pem.Block{Type: kind, Bytes: der}); err != nil {
			return nil, nil, err
		}
	}
	cert, err := tls.X509KeyPair(content.Bytes(), content.Bytes())
	if err != nil {
		return nil, nil, err
	}
	return &cert, content.Bytes(), nil
}

// writePrivate atomically writes a file that only its owner can read. It creates the
// directory if necessary.
func writePrivate(file string, content []byte) (err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".inbox-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
