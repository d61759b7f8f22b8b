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
	clockOff    = time.Minute // with a larger difference, TURN credentials may be refused
)

// reach checks the path to the server. It reports false if the server cannot be reached.
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
			return warning("Use --tls acme, or a proxy with a certificate.",
				"The URL does not use https, so browsers do not allow its pages to use the camera and microphone.")
		})
	}
	return c.do(ctx, "server", c.server)
}

func (c *checker) name(ctx context.Context) Result {
	host := c.base.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		if c.isLocal() {
			return ok("The URL is an address of this machine.")
		}
		return warning("Certificates, and TURN over TLS in Firefox, require a name: create a DNS record for the server.",
			"The URL contains an address instead of a name.")
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return failed("Check the DNS records and the spelling of the name.", "The name %s has no address: %s.", host, plain(err))
	}
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.Unmap().String()
	}
	slices.Sort(texts)
	return ok("%s is %s.", host, strings.Join(slices.Compact(texts), ", "))
}

// isLocal reports whether the URL is on this machine. Browsers trust such a server
// without https.
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
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // verified below, for a better error
	conn, err := dialer.DialContext(ctx, "tcp", c.address())
	if err != nil {
		if _, is := errors.AsType[tls.RecordHeaderError](err); is {
			return failed("Use http in the URL, or start the server with --tls.", "The server does not use TLS on this port.")
		}
		return failed("Check that the server is running and that no firewall blocks the port.", "Cannot connect: %s.", plain(err))
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	leaf := chain[0]
	others := x509.NewCertPool()
	for _, next := range chain[1:] {
		others.AddCert(next)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: c.base.Hostname(), Intermediates: others}); err != nil {
		advice := "Use --tls acme, or put the whole chain of a certificate for this name into --tls-cert."
		if c.Insecure {
			return warning(advice, "Browsers do not trust the certificate: %s.", err)
		}
		return failed(advice+" To continue anyway, use --insecure.", "Browsers do not trust the certificate: %s.", err)
	}
	if left := time.Until(leaf.NotAfter); left < expiresSoon {
		return warning("Renew it. With --tls acme, the server's log says why it was not renewed.",
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

// server checks the response of /readyz and the server's clock.
func (c *checker) server(ctx context.Context) Result {
	began := time.Now()
	resp, err := c.get(ctx, "readyz", nil, nil)
	if err != nil {
		return failed("Check that the server is running and that no firewall blocks the port.", "No response: %s.", plain(err))
	}
	defer resp.Body.Close()
	took := time.Since(began)
	body := head(resp.Body)
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable && strings.HasPrefix(body, "draining"):
		return failed("Check again after it has restarted.", "The server is stopping.")
	case resp.StatusCode == http.StatusServiceUnavailable && strings.HasPrefix(body, "store-unavailable"):
		return failed("Check Redis and the server's log.", "The server cannot reach its inboxes.")
	case resp.StatusCode != http.StatusOK || strings.TrimSpace(body) != "ok":
		return failed("Check the URL, its base path, and the proxy in front of the server.", "Something other than an inbox server responded: %s.", resp.Status)
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		if off := time.Since(date); off.Abs() > clockOff {
			return warning("Synchronize both clocks (NTP): TURN credentials expire.",
				"The server responds, but its clock differs from this machine's by %s.", off.Abs().Round(time.Second))
		}
	}
	return ok("The server responds in %s.", took.Round(time.Millisecond))
}
