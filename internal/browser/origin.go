package browser

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// anything is the wildcard for a host or a port in a pattern.
const anything = "*"

// An origin is the origin of a page, as a browser sends it, or a pattern of origins.
type origin struct {
	scheme string
	host   string // IPv6 in brackets; "*." before a domain matches its subdomains
	port   string // "" for the scheme's default
}

func (o origin) String() string {
	if o.port == "" {
		return o.scheme + "://" + o.host
	}
	return o.scheme + "://" + o.host + ":" + o.port
}

func (o origin) isPattern() bool {
	return o.port == anything || strings.HasPrefix(o.host, anything)
}

// matches reports whether the pattern o matches an origin that a browser has sent.
func (o origin) matches(sent origin) bool {
	if o.scheme != sent.scheme || o.port != sent.port && o.port != anything {
		return false
	}
	domain, many := strings.CutPrefix(o.host, anything)
	if many {
		return len(sent.host) > len(domain) && strings.HasSuffix(sent.host, domain)
	}
	return o.host == sent.host
}

// isWeb reports whether pages with this scheme come from servers. Only then is the host a
// name or an address.
func isWeb(scheme string) bool { return scheme == "http" || scheme == "https" }

// split splits an origin without validating host and port.
func split(text string) (o origin, ok bool) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !isScheme(scheme) || strings.ContainsAny(rest, "/?#@\\") {
		return origin{}, false
	}
	end := strings.LastIndexByte(rest, ':')
	if end < strings.LastIndexByte(rest, ']') {
		end = -1 // a colon inside an IPv6 address
	}
	if end < 0 {
		return origin{scheme: scheme, host: rest}, rest != ""
	}
	return origin{scheme, rest[:end], rest[end+1:]}, end > 0 && rest[end+1:] != ""
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		letter, other := 'a' <= c && c <= 'z', '0' <= s[i] && s[i] <= '9' || strings.IndexByte("+-.", s[i]) >= 0
		if !letter && (!other || i == 0) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// parseSent parses the Origin header of a request. The host of an app or an extension is
// opaque, and some browsers keep its upper case.
func parseSent(text string) (origin, bool) {
	o, ok := split(text)
	if ok && !isWeb(o.scheme) {
		o.host = strings.ToLower(o.host)
	}
	return o, ok && len(text) <= maxOrigin
}

// maxOrigin bounds the length of an origin: a scheme of 64 bytes, a domain name of 253
// and a port.
const maxOrigin = 64 + len("://") + 253 + len(":65535")

// parsePattern parses an origin or pattern from the configuration and normalizes it to
// the form that browsers send.
func parsePattern(text string) (origin, error) {
	wrong := func(format string, args ...any) (origin, error) {
		return origin{}, fmt.Errorf("origin %q: %s", text, fmt.Sprintf(format, args...))
	}
	scheme, rest, found := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case text == "":
		return wrong("empty, want scheme://host[:port]")
	case len(text) > maxOrigin:
		return wrong("%d bytes, want at most %d", len(text), maxOrigin)
	case strings.EqualFold(text, "null") || scheme == "file":
		return wrong("all files and sandboxed frames send the origin null (only * allows them)")
	case !found:
		return wrong("no scheme, want scheme://host[:port] (try: https://%s)", strings.TrimLeft(text, "/"))
	case !isScheme(scheme):
		return wrong("%q is not a scheme, want letters and digits as in https", scheme)
	case scheme == "ws" || scheme == "wss":
		return wrong("want the scheme of the page, not of the WebSocket (try: http%s://%s)", strings.TrimPrefix(scheme, "ws"), rest)
	}
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		return wrong("an origin has no path (try: %s://%s)", scheme, rest[:i])
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		return wrong("an origin has no user (try: %s://%s)", scheme, rest[i+1:])
	}
	o, ok := split(scheme + "://" + rest)
	if !ok {
		return wrong("empty host or port, want scheme://host[:port]")
	}
	if o.port != "" && o.port != anything {
		n, err := strconv.ParseUint(o.port, 10, 16)
		if err != nil || n == 0 {
			return wrong("port %q, want a number from 1 to 65535 or *", o.port)
		}
		o.port = strconv.FormatUint(n, 10)
		if scheme == "http" && n == 80 || scheme == "https" && n == 443 {
			o.port = "" // browsers omit the default port
		}
	}
	host, err := parseHost(scheme, o.host)
	if err != nil {
		return wrong("%v", err)
	}
	o.host = host
	return o, nil
}

// parseHost parses the host of a pattern.
func parseHost(scheme, host string) (string, error) {
	if !isWeb(scheme) {
		if host = strings.ToLower(host); host != anything && !isHost(host) {
			return "", fmt.Errorf("%q is not a host, want letters, digits and . - _ ~", host)
		}
		return host, nil
	}
	domain, subdomains := strings.CutPrefix(host, anything+".")
	switch {
	case strings.Contains(domain, anything):
		return "", errors.New("a * may only replace the names before a domain, as in https://*.example.com, or a port")
	case strings.HasPrefix(host, "["):
		return parseIPv6(host)
	case strings.Contains(host, ":"):
		return "", fmt.Errorf("an IPv6 address needs brackets (try: %s://[%s])", scheme, host)
	case endsInNumber(domain):
		if addr, err := netip.ParseAddr(domain); err != nil || subdomains {
			return "", fmt.Errorf("%q ends in a number and is not an IPv4 address, want four numbers from 0 to 255", host)
		} else {
			return addr.String(), nil
		}
	}
	ascii, err := hostNames.ToASCII(domain)
	if err != nil || !isHost(ascii) {
		return "", fmt.Errorf("%q is not a host name", domain)
	}
	if subdomains {
		ascii = anything + "." + ascii
	}
	return ascii, nil
}

// hostNames maps names as browsers do (URL standard, 3.3).
var hostNames = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false), idna.BidiRule())

func parseIPv6(host string) (string, error) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(host[1:], "]"))
	if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(host, "]") {
		return "", fmt.Errorf("%q is not an IPv6 address in brackets without a zone", host)
	}
	if addr.Is4In6() {
		b := addr.As16() // browsers write the last four bytes in hexadecimal
		return fmt.Sprintf("[::ffff:%x:%x]", uint(b[12])<<8|uint(b[13]), uint(b[14])<<8|uint(b[15])), nil
	}
	return "[" + addr.String() + "]", nil
}

// endsInNumber reports whether browsers parse the host as an IPv4 address (URL standard,
// 3.5). A name may begin with a digit.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte(".-_~", c) >= 0) {
			return false
		}
	}
	return s != "" && s[0] != '.' && !strings.Contains(s, "..") && len(s) <= 253
}

// isOwn reports whether a page of this server sent the request. Such pages need no
// permission. A proxy may have changed Host, so Sec-Fetch-Site counts too, which pages
// cannot forge.
func isOwn(r *http.Request, text string) bool {
	if first(r.Header, "Sec-Fetch-Site") == "same-origin" {
		return true
	}
	o, ok := parseSent(text)
	if !ok || !isWeb(o.scheme) || r.TLS != nil && o.scheme != "https" {
		return false
	}
	port := ":80"
	if o.scheme == "https" {
		port = ":443"
	}
	return strings.TrimPrefix(o.String(), o.scheme+"://") == strings.TrimSuffix(strings.ToLower(r.Host), port)
}
