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

	// renewBefore is how long before its end a certificate is replaced.
	renewBefore = 7 * 24 * time.Hour
)

// selfSignedFile is where --tls self-signed keeps its certificate and key: beside the
// snapshot, or in the state directory of systemd or of the user. It is "" if there is none
// of these.
func (c *serveCommand) selfSignedFile() string {
	if c.Snapshot != "" {
		return c.Snapshot + ".tls.pem"
	}
	if dir := stateDir(); dir != "" {
		return filepath.Join(dir, "self-signed.tls.pem")
	}
	return ""
}

// A keptCertificate is a self-signed certificate that outlives restarts: a browser that was
// told to trust it would refuse the next one, and pages that wait would lose the server
// until they are reloaded.
type keptCertificate struct {
	file string // or ""
	log  *slog.Logger

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
}

// get returns the certificate: the one in use, the one in the file, or a new one. It is
// safe for concurrent use.
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
			k.log.Info("the self-signed certificate is the one of the last start", "file", k.file, "until", kept.Leaf.NotAfter)
			k.current = kept
			return kept, nil
		}
		if !errors.Is(why, fs.ErrNotExist) {
			k.log.Info("a new self-signed certificate replaces the one that was kept: browsers ask again", "file", k.file, "reason", why)
		}
	}
	made, content, err := selfSigned(needed, now)
	if err != nil {
		return nil, err
	}
	k.current = made
	if k.file == "" {
		k.log.Warn("there is no place to keep the self-signed certificate, so browsers ask again after a restart: set --snapshot or XDG_STATE_HOME")
	} else if err := writePrivate(k.file, content); err != nil {
		k.log.Warn("the self-signed certificate cannot be kept, so browsers ask again after a restart", "error", err)
	} else {
		k.log.Info("the self-signed certificate and its key are kept for the next start", "file", k.file)
	}
	return made, nil
}

// names are what a certificate is for.
type names struct {
	hosts     []string
	addresses []net.IP
}

// ourNames are localhost, the name of this machine and its addresses.
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

// missing returns a name that a certificate lacks, or "". Addresses of IPv6 may be missing:
// many machines get a new one each day, and a browser that trusts the certificate for one
// address asks once for another anyway.
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

// readSelfSigned reads a certificate and its key, or says why they are of no use.
func readSelfSigned(file string, needed names, now time.Time) (*tls.Certificate, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("its mode is %v, want -rw-------: others may know the key", mode)
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
		return nil, fmt.Errorf("it is for %q, not one of ours", leaf.Subject.CommonName)
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("it is not valid before %v", leaf.NotBefore)
	case !now.Before(leaf.NotAfter.Add(-renewBefore)):
		return nil, fmt.Errorf("it ends %v", leaf.NotAfter)
	case needed.missing(leaf) != "":
		return nil, fmt.Errorf("it lacks %s", needed.missing(leaf))
	}
	return &cert, nil
}

// selfSigned makes a certificate and the content of its file. Browsers warn of it, once,
// and then treat the page as secure, so that it may have the camera.
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
		NotBefore:    now.Add(-time.Hour), // for clocks that are behind
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

// writePrivate writes a file that only its owner can read, whole or not at all. It makes
// the directory if there is none.
func writePrivate(file string, content []byte) (err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".inbox-*") // with the mode 0600
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
