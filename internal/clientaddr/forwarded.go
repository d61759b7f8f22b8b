package clientaddr

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Header is one in which proxies tell the addresses of their clients.
type Header string

const (
	XForwardedFor Header = "X-Forwarded-For"
	Forwarded     Header = "Forwarded" // RFC 7239
)

// Trusted are the proxies that may tell the address of a client.
type Trusted struct {
	Networks []netip.Prefix
	Unix     bool // the peers on Unix sockets too
}

// ParseTrusted reads networks, addresses, and "unix".
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
		return netip.Prefix{}, fmt.Errorf("%q is not a network, as 10.0.0.0/8 or fd00::/8, an address, or unix", text)
	}
	if n.Addr().Is4In6() {
		if n.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q is more than the IPv4 addresses in IPv6: want at least /96", text)
		}
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	return n.Masked(), nil
}

// Any reports whether there are trusted proxies at all.
func (t *Trusted) Any() bool { return t.Unix || len(t.Networks) > 0 }

// Has reports whether the proxy at a is trusted.
func (t *Trusted) Has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(t.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Walk returns the client of a request that came from peer, a trusted proxy. lines are
// those of its header h. Each proxy has added the address of the one before it at the
// end: Walk goes from there to the first that is not trusted. It stops at an entry that
// is no address, and reports that it is bad: then the client is the last proxy before it.
func (t *Trusted) Walk(h Header, lines []string, peer netip.Addr) (client netip.Addr, bad bool) {
	client = peer
	for _, line := range slices.Backward(lines) {
		for rest := line; rest != ""; {
			var entry string
			if rest, entry = h.cutLast(rest); entry == "" {
				continue // an empty part of a list is none (RFC 9110, 5.6.1.2)
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

// lastUnquoted is the last place of c outside of a quoted string, or -1. It goes
// backwards, so that a quote that a client has left open hides no later entry.
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

// address returns the address of an entry, if it has one that a client can have.
func (h Header) address(entry string) (a netip.Addr, ok bool) {
	if h == Forwarded {
		if entry, ok = forParameter(entry); !ok {
			return a, false
		}
	}
	return parseNode(entry, h == Forwarded)
}

// forParameter returns the one parameter "for" of an element of Forwarded.
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
		case ok: // once in an element (RFC 7239, 4)
			return "", false
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1] // no address needs an escape
		}
		node, ok = value, true
	}
	return node, ok
}

// parseNode reads IPv4 and [IPv6], either with or without a port, and IPv6 without brackets
// and port if it need not be in them.
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

// isPort reports whether text is a port, or the name that stands for one (RFC 7239, 6.2).
func isPort(text string) bool {
	odd := func(c rune) bool { return c < '0' || c > '9' }
	if hidden, ok := strings.CutPrefix(text, "_"); ok {
		return hidden != ""
	}
	return len(text) > 0 && len(text) <= 5 && !strings.ContainsFunc(text, odd)
}

// MayBeClient reports whether a connection can come from a. A zone has a meaning only on
// the machine that says it.
func MayBeClient(a netip.Addr) bool {
	a = a.Unmap()
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast
}
