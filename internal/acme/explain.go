package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"regexp"
	"strings"

	"github.com/mholt/acmez/v3/acme"
)

// explain returns what to check after a failure, and what the authority or the system
// said of it.
func (m *Manager) explain(err error) (what, detail string) {
	problem, ok := errors.AsType[acme.Problem](err)
	if !ok {
		return m.explainLocal(err), redact(err.Error(), m.names)
	}
	// The reason for a name is in a problem of its own.
	kind, detail := problem.Type, problem.Detail
	for _, sub := range problem.Subproblems {
		if kind == "" || strings.HasSuffix(kind, ":compound") || strings.HasSuffix(kind, ":malformed") {
			kind = sub.Type
		}
		detail += "; " + sub.Detail
	}
	kind = strings.TrimPrefix(kind, acme.ProblemTypeNamespace)
	return m.explainProblem(kind, detail), redact(kind+": "+detail, m.names)
}

// What authorities say of a name without an address, and of a port that does not answer:
// not all have the type for it.
var (
	saysDNS        = regexp.MustCompile(`(?i)resolv|nxdomain|servfail|no such host|no valid ip|lookup `)
	saysConnection = regexp.MustCompile(`(?i)failed to connect|connection refused|connection reset|no route|time(d )?out|unreachable`)
)

// ports are those that the authority connects to.
func (m *Manager) ports() string {
	if m.HTTP {
		return "port 443 or 80"
	}
	return "port 443"
}

func (m *Manager) explainProblem(kind, detail string) string {
	if kind == "unauthorized" || kind == "malformed" || kind == "connection" || kind == "incorrectResponse" {
		switch {
		case saysDNS.MatchString(detail):
			kind = "dns"
		case saysConnection.MatchString(detail):
			kind = "connection"
		}
	}
	switch kind {
	case "dns":
		return "the authority finds no address for this name: check DNS (an A or AAAA record that leads to this server)"
	case "connection":
		return "the authority cannot connect to this name: check that DNS leads to this server, and that " + m.ports() + " is open to the internet and forwarded to it"
	case "tls", "unauthorized", "incorrectResponse":
		return "another server answers for this name: check that DNS (A and AAAA) leads to this server, and that nothing in front of " + m.ports() + " ends TLS itself"
	case "caa":
		return "DNS forbids this authority to issue for this name: check its CAA records"
	case "rateLimited":
		return "the authority has issued or refused too much lately: nothing is to be done but wait (try --tls-directory letsencrypt-staging while you set things up)"
	case "rejectedIdentifier":
		return "the authority issues no certificate for this name: check --tls-domain"
	case "invalidContact", "unsupportedContact":
		return "the authority refuses the address in --tls-email: check it"
	case "externalAccountRequired":
		return "the authority wants an account that was made beforehand, which this server cannot use: check --tls-directory"
	case "userActionRequired":
		return "the authority wants you to do something first, perhaps to read its new terms"
	case "serverInternal":
		return "the authority has trouble of its own: nothing is to be done but wait"
	}
	return "the authority refuses"
}

// explainLocal is about errors that are not the authority's.
func (m *Manager) explainLocal(err error) string {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	lookup, isLookup := errors.AsType[*net.DNSError](err)
	_, isNetwork := errors.AsType[net.Error](err)
	_, isSkew := errors.AsType[skewError](err)
	switch {
	case isSkew, isInvalid && invalid.Reason == x509.Expired:
		return "this machine's time seems wrong: check its clock (try: timedatectl)"
	case unknown:
		return "the certificate of the authority's own address is of an unknown issuer: check --tls-directory, and --tls-directory-ca if the authority is your own"
	case isLookup:
		return "the authority's address " + lookup.Name + " is not found: check this machine's DNS, and --tls-directory"
	case isNetwork, errors.Is(err, context.DeadlineExceeded):
		return "the authority cannot be reached: check that this machine may connect to it (port 443 outwards), and --tls-directory"
	}
	return "the authority did not answer as expected: check --tls-directory"
}

// secret matches what may be a token, a thumbprint or a key.
var secret = regexp.MustCompile(`[A-Za-z0-9_-]{22,}`)

const mostDetail = 500

// redact removes tokens from a text that comes from elsewhere, keeps the server's names,
// and makes one short line of it.
func redact(s string, names []string) string {
	s = strings.Join(strings.Fields(s), " ")
	s = secret.ReplaceAllStringFunc(s, func(found string) string {
		for _, name := range names {
			if strings.Contains(name, strings.ToLower(found)) {
				return found
			}
		}
		return "..."
	})
	if len(s) > mostDetail {
		s = strings.ToValidUTF8(s[:mostDetail], "") + "..."
	}
	return s
}
