package clientaddr

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Header is the name of a header in which proxies report the addresses of their
// clients.
type Header string

const (
	XForwardedFor Header = "X-Forwarded-For"
	Forwarded     Header = "Forwarded" // RFC 7239
)

// Trusted describes the proxies that may report the addresses of clients.
type Trusted struct {
	Networks []netip.Prefix
	Unix     bool // peers on Unix sockets are trusted too
}

// ParseTrusted parses networks, addresses, and the word "unix".
func ParseTrusted(texts []string) (t Trusted, err error) {
	for _, text := range texts {
		if text == "unix" {
			t.Unix = true
			continue
		}
		network, err := parseNetwork(text)
		if err != nil {
			return Trusted{}, err
		}
		t.Networks = append(t.Networks, network)
	}
	return t, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	n, err := netip.ParsePrefix(text)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(text); err == nil && a.Zone() == "" {
			return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		return netip.Prefix{}, fmt.Errorf("%q: want a network (10.0.0.0/8, fd00::/8), an address, or unix", text)
	}
	if n.Addr().Is4In6() {
		if n.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q covers more than the IPv4-mapped addresses: want at least /96", text)
		}
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	return n.Masked(), nil
}

// Any reports whether any proxy is trusted.
func (t *Trusted) Any() bool { return t.Unix || len(t.Networks) > 0 }

// Has reports whether a proxy at address a is trusted.
func (t *Trusted) Has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(t.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Walk returns the client of a request from peer, which must be a trusted proxy. lines
// are the values of header h. Each proxy appends the address it received the request
// from, so Walk goes backwards to the first address that is not a trusted proxy. An
// invalid entry ends the walk: Walk then reports bad and returns the last proxy it found.
func (t *Trusted) Walk(h Header, lines []string, peer netip.Addr) (client netip.Addr, bad bool) {
	client = peer
	for _, line := range slices.Backward(lines) {
		for rest := line; rest != ""; {
			var entry string
			if rest, entry = h.cutLast(rest); entry == "" {
				continue // an empty list element does not count (RFC 9110, 5.6.1.2)
			}
			next, ok := h.address(entry)
			if !ok {
				return client, true
			}
			if client = next; !t.Has(next) {
				return client, false
			}
		}
	}
	return client, false
}

// cutLast cuts the last entry off a line.
func (h Header) cutLast(line string) (rest, entry string) {
	i := strings.LastIndexByte(line, ',')
	if h == Forwarded {
		i = lastUnquoted(line, ',')
	}
	return line[:max(i, 0)], strings.Trim(line[i+1:], " \t")
}

// lastUnquoted returns the last index of c outside of a quoted string, or -1. It scans
// backwards, so that a quote that a client left open cannot hide later entries.
func lastUnquoted(text string, c byte) int {
	quoted := false
	for i := len(text) - 1; i >= 0; i-- {
		switch {
		case text[i] == '"':
			escapes := 0
			for quoted && i-1-escapes >= 0 && text[i-1-escapes] == '\\' {
				escapes++
			}
			if escapes%2 == 0 {
				quoted = !quoted
			}
		case text[i] == c && !quoted:
			return i
		}
	}
	return -1
}

// address returns the address of an entry, if it is a possible client address.
func (h Header) address(entry string) (a netip.Addr, ok bool) {
	if h == Forwarded {
		if entry, ok = forParameter(entry); !ok {
			return a, false
		}
	}
	return parseNode(entry, h == Forwarded)
}

// forParameter returns the value of the "for" parameter of a Forwarded element. An
// element has exactly one.
func forParameter(element string) (node string, ok bool) {
	for rest := element; rest != ""; {
		i := lastUnquoted(rest, ';')
		pair := strings.Trim(rest[i+1:], " \t")
		rest = rest[:max(i, 0)]
		name, value, is := strings.Cut(pair, "=")
		switch {
		case pair == "":
			continue
		case !is:
			return "", false
		case !strings.EqualFold(name, "for"):
			continue
		case ok: // at most once per element (RFC 7239, 4)
			return "", false
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1] // no address needs an escape
		}
		node, ok = value, true
	}
	return node, ok
}

// parseNode parses an IPv4 address or a bracketed IPv6 address, with or without a port.
// Unless brackets are required, it also accepts a bare IPv6 address.
func parseNode(text string, brackets bool) (a netip.Addr, ok bool) {
	host, port, hasPort := strings.Cut(text, ":")
	if inside, found := strings.CutPrefix(text, "["); found {
		var after string
		host, after, found = strings.Cut(inside, "]")
		port, hasPort = strings.CutPrefix(after, ":")
		if !found || !strings.Contains(host, ":") || !hasPort && after != "" {
			return a, false
		}
	} else if strings.Contains(port, ":") {
		if brackets {
			return a, false
		}
		host, hasPort = text, false
	}
	if hasPort && !isPort(port) {
		return a, false
	}
	a, err := netip.ParseAddr(host)
	return a.Unmap(), err == nil && MayBeClient(a)
}

// isPort reports whether text is a port or an obfuscated port (RFC 7239, 6.2).
func isPort(text string) bool {
	odd := func(c rune) bool { return c < '0' || c > '9' }
	if hidden, ok := strings.CutPrefix(text, "_"); ok {
		return hidden != ""
	}
	return len(text) > 0 && len(text) <= 5 && !strings.ContainsFunc(text, odd)
}

// MayBeClient reports whether a can be the address of a client. Addresses with a zone
// cannot: a zone is only meaningful on the machine that assigned it.
func MayBeClient(a netip.Addr) bool {
	a = a.Unmap()
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast
}
