package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	expiresSoon = 14 * 24 * time.Hour
	clockOff    = time.Minute // beyond this, credentials for TURN may be refused
)

// reach checks the way to the server, and reports whether there is one.
func (c *checker) reach(ctx context.Context) bool {
	if !c.do(ctx, "name", c.name) {
		return false
	}
	if c.base.Scheme == "https" {
		if !c.do(ctx, "certificate", c.certificate) && !c.Insecure {
			return false
		}
	} else if !c.isLocal() {
		c.do(ctx, "certificate", func(context.Context) Result {
			return warning("Serve with --tls acme, or behind a proxy that has a certificate.",
				"The URL has no https, so browsers give its pages no camera and no microphone.")
		})
	}
	return c.do(ctx, "server", c.server)
}

func (c *checker) name(ctx context.Context) Result {
	host := c.base.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		if c.isLocal() {
			return ok("The URL has the address of this machine.")
		}
		return warning("Certificates and Firefox's TURN over TLS need a name: point one at the server.",
			"The URL has an address instead of a name.")
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return failed("Check the DNS records of the name, and its spelling.", "The name %s has no address: %s.", host, plain(err))
	}
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.Unmap().String()
	}
	slices.Sort(texts)
	return ok("%s is %s.", host, strings.Join(slices.Compact(texts), ", "))
}

// isLocal reports whether browsers trust the server without https, since it is on the
// machine of the browser.
func (c *checker) isLocal() bool {
	host := c.base.Hostname()
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

func (c *checker) address() string {
	if port := c.base.Port(); port != "" {
		return c.base.Host
	}
	return net.JoinHostPort(c.base.Hostname(), c.base.Scheme)
}

func (c *checker) certificate(ctx context.Context) Result {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // checked below, where it can be explained
	conn, err := dialer.DialContext(ctx, "tcp", c.address())
	if err != nil {
		if _, is := errors.AsType[tls.RecordHeaderError](err); is {
			return failed("Use http in the URL, or start the server with --tls.", "The server does not speak TLS on this port.")
		}
		return failed("Check that the server runs, and that a firewall lets the port through.", "No connection: %s.", plain(err))
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	leaf := chain[0]
	others := x509.NewCertPool()
	for _, next := range chain[1:] {
		others.AddCert(next)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: c.base.Hostname(), Intermediates: others}); err != nil {
		advice := "Serve with --tls acme, or with the whole chain of a certificate for this name in --tls-cert."
		if c.Insecure {
			return warning(advice, "Browsers do not trust the certificate: %s.", err)
		}
		return failed(advice+" To go on all the same, check with --insecure.", "Browsers do not trust the certificate: %s.", err)
	}
	if left := time.Until(leaf.NotAfter); left < expiresSoon {
		return warning("Renew it; with --tls acme, look into the log of the server for the reason why it was not renewed.",
			"The certificate expires in %s.", days(left))
	}
	return ok("The certificate is valid for %s.", days(time.Until(leaf.NotAfter)))
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return (d / (24 * time.Hour) * (24 * time.Hour)).String()
}

// server looks at the answer of /readyz, and at the clock in it.
func (c *checker) server(ctx context.Context) Result {
	began := time.Now()
	resp, err := c.get(ctx, "readyz", nil, nil)
	if err != nil {
		return failed("Check that the server runs, and that a firewall lets the port through.", "No answer: %s.", plain(err))
	}
	defer resp.Body.Close()
	took := time.Since(began)
	body := head(resp.Body)
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable && strings.HasPrefix(body, "draining"):
		return failed("Check again when it has started again.", "The server is about to stop.")
	case resp.StatusCode == http.StatusServiceUnavailable && strings.HasPrefix(body, "store-unavailable"):
		return failed("Check Redis, and the log of the server.", "The server does not reach its inboxes.")
	case resp.StatusCode != http.StatusOK || strings.TrimSpace(body) != "ok":
		return failed("Check the URL, its base path, and the proxy in front.", "Something answers, but no inbox server: %s.", resp.Status)
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		if off := time.Since(date); off.Abs() > clockOff {
			return warning("Set both clocks by NTP: credentials for TURN have an expiry.",
				"The server answers, but its clock and the one of this machine differ by %s.", off.Abs().Round(time.Second))
		}
	}
	return ok("The server answers in %s.", took.Round(time.Millisecond))
}
