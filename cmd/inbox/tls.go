package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// tlsConfig returns nil when TLS is off.
func (c *serveCommand) tlsConfig(log *slog.Logger) (*tls.Config, error) {
	switch c.TLS {
	case "self-signed":
		kept := &keptCertificate{file: c.selfSignedFile(), log: log}
		if _, err := kept.get(nil); err != nil {
			return nil, fmt.Errorf("cannot make a certificate: %w", err)
		}
		return &tls.Config{GetCertificate: kept.get}, nil
	case "files":
		files := &certificateFiles{cert: c.TLSCert, key: c.TLSKey, log: log}
		if err := files.load(); err != nil {
			return nil, fmt.Errorf("cannot use the certificate: %w", err)
		}
		return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files.get(), nil }}, nil
	}
	return nil, nil
}

// machineAddresses are the ones under which other devices reach this machine.
func machineAddresses() []string {
	var all []string
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			all = append(all, n.IP.String())
		}
	}
	return all
}

// certificateFiles reads a certificate again when its files change. One that
// cannot be read is reported, and the one before it stays.
type certificateFiles struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	changed [2]time.Time // of cert and key, when they were last read
	looked  time.Time
}

func (f *certificateFiles) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= time.Second {
		f.looked = now
		if changed, err := f.times(); err != nil || changed != f.changed {
			if err := f.loadLocked(); err != nil {
				f.log.Error("the changed certificate cannot be used, the old one stays", "error", err)
			} else {
				f.log.Info("certificate read again")
			}
		}
	}
	return f.current
}

func (f *certificateFiles) load() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loadLocked()
}

func (f *certificateFiles) loadLocked() error {
	changed, err := f.times()
	if err != nil {
		return err
	}
	f.changed = changed // also of a bad one: it is not tried again until it changes
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.current = &cert
	return nil
}

func (f *certificateFiles) times() (t [2]time.Time, err error) {
	for i, path := range [2]string{f.cert, f.key} {
		info, err := os.Stat(path)
		if err != nil {
			return t, err
		}
		t[i] = info.ModTime()
	}
	return t, nil
}
