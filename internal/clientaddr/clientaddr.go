// Package clientaddr determines the address of a client, including the one that trusted
// proxies report in headers, and the networks under which limits count it.
package clientaddr

import "net/netip"

// Keys are the networks under which limits count an address. An IPv6 subscriber usually
// has a whole /64, and may have a /48.
type Keys struct {
	Near netip.Prefix // the IPv4 address, or the IPv6 /64
	Wide netip.Prefix // the IPv6 /48; invalid for IPv4
}

// KeysOf returns the keys of a. It treats an IPv4-mapped IPv6 address as IPv4 and ignores
// the zone. Both keys of an invalid address are invalid.
func KeysOf(a netip.Addr) Keys {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return Keys{Near: netip.PrefixFrom(a, 32)}
	}
	near, _ := a.Prefix(64) // never fails for IPv6
	wide, _ := a.Prefix(48)
	return Keys{near, wide}
}

// Of returns the address in an [net/http.Request.RemoteAddr]. It returns the zero Addr if
// it contains no address, as for a Unix socket.
func Of(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}
