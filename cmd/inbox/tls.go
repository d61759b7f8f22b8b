package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// machineAddresses returns the addresses at which other devices can reach this machine.
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

// certificateFiles reloads a certificate when its files change. If they cannot be read,
// it logs that and keeps the previous certificate.
type certificateFiles struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex // guards the fields below
	current *tls.Certificate
	changed [2]time.Time // modification times of cert and key when last read
	looked  time.Time
	failed  time.Time // when reading failed, if it has not succeeded since
	why     string
	logged  time.Time // when why was last logged
}

// relogInterval is the time between log lines about a lasting failure.
const relogInterval = time.Hour

func (f *certificateFiles) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= time.Second {
		f.looked = now
		if changed, err := f.times(); err != nil || changed != f.changed {
			f.reloadLocked(now)
		}
	}
	return f.current
}

func (f *certificateFiles) reloadLocked(now time.Time) {
	err := f.loadLocked()
	if err == nil {
		f.failed, f.why = time.Time{}, ""
		f.log.Info("certificate reloaded", "until", f.current.Leaf.NotAfter)
		return
	}
	f.failed = now
	if why := err.Error(); why != f.why || now.Sub(f.logged) >= relogInterval {
		f.why, f.logged = why, now
		f.log.Error("cannot load the changed certificate, keeping the old one", "error", err, "old_until", f.current.Leaf.NotAfter)
	}
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
	f.changed = changed // even if loading fails: no retry until it changes
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.current = &cert
	warnOfTime(f.log, f.cert, cert.Leaf, time.Now())
	return nil
}

// warnOfTime logs that clients refuse a certificate because it is not valid now.
func warnOfTime(log *slog.Logger, file string, leaf *x509.Certificate, now time.Time) {
	switch {
	case now.After(leaf.NotAfter):
		log.Warn("the certificate has expired, so clients refuse it: renew it, or check this machine's clock", "file", file, "until", leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		log.Warn("the certificate is not valid yet, so clients refuse it: check this machine's clock", "file", file, "from", leaf.NotBefore)
	}
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
