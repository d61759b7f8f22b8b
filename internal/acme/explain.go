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
// reported.
func (m *Manager) explain(err error) (what, detail string) {
	problem, ok := errors.AsType[acme.Problem](err)
	if !ok {
		return m.explainLocal(err), redact(err.Error(), m.names)
	}
	// The reason is in the subproblem of the name.
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

// Messages about a name without an address and about an unreachable port. Not all
// authorities use a separate problem type for these.
var (
	saysDNS        = regexp.MustCompile(`(?i)resolv|nxdomain|servfail|no such host|no valid ip|lookup `)
	saysConnection = regexp.MustCompile(`(?i)failed to connect|connection refused|connection reset|no route|time(d )?out|unreachable`)
)

// ports names the ports that the authority connects to.
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
		return "the authority finds no address for this name: check DNS (an A or AAAA record with the address of this server)"
	case "connection":
		return "the authority cannot connect to this name: check that DNS points to this server, and that " + m.ports() + " is open to the internet and forwarded to it"
	case "tls", "unauthorized", "incorrectResponse":
		return "another server answers for this name: check that DNS (A and AAAA) points to this server, and that nothing in front of " + m.ports() + " terminates TLS"
	case "caa":
		return "DNS forbids this authority to issue certificates for this name: check its CAA records"
	case "rateLimited":
		return "the authority's rate limit is reached: wait (use --tls-directory letsencrypt-staging while you set things up)"
	case "rejectedIdentifier":
		return "the authority does not issue certificates for this name: check --tls-domain"
	case "invalidContact", "unsupportedContact":
		return "the authority rejects the address in --tls-email: check it"
	case "externalAccountRequired":
		return "the authority requires an existing account (external account binding), which this server does not support: check --tls-directory"
	case "userActionRequired":
		return "the authority requires an action by you first, such as accepting its new terms"
	case "serverInternal":
		return "the authority has an internal error: wait"
	}
	return "the authority refuses"
}

// explainLocal explains errors that do not come from the authority.
func (m *Manager) explainLocal(err error) string {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	lookup, isLookup := errors.AsType[*net.DNSError](err)
	_, isNetwork := errors.AsType[net.Error](err)
	_, isSkew := errors.AsType[skewError](err)
	switch {
	case isSkew, isInvalid && invalid.Reason == x509.Expired:
		return "this machine's clock seems wrong: check it (try: timedatectl)"
	case unknown:
		return "the authority's own certificate has an unknown issuer: check --tls-directory, and --tls-directory-ca if the authority is your own"
	case isLookup:
		return "the authority's host " + lookup.Name + " was not found: check this machine's DNS and --tls-directory"
	case isNetwork, errors.Is(err, context.DeadlineExceeded):
		return "cannot reach the authority: check that this machine may connect to it (outgoing port 443), and --tls-directory"
	}
	return "unexpected response from the authority: check --tls-directory"
}

// secret matches potential tokens, thumbprints and keys.
var secret = regexp.MustCompile(`[A-Za-z0-9_-]{22,}`)

const maxDetail = 500

// redact shortens a foreign text to one line and removes tokens from it, but not the
// server's names.
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
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "") + "..."
	}
	return s
}
