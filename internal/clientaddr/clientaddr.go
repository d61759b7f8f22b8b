// Package clientaddr reads the addresses of clients that proxies pass on, and returns the
// networks that limits count by.
package clientaddr

import "net/netip"

// Keys are the networks that limits count an address by. A subscriber usually has a whole
// /64 of IPv6, and may have a /48.
type Keys struct {
	Near netip.Prefix // the IPv4 address, or the /64
	Wide netip.Prefix // the /48; not valid for IPv4
}

// KeysOf returns the keys of a. An IPv4 address that is mapped into IPv6 counts as itself,
// and a zone does not count. For an address that is not valid neither key is.
func KeysOf(a netip.Addr) Keys {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return Keys{Near: netip.PrefixFrom(a, 32)}
	}
	near, _ := a.Prefix(64) // without an error for each address of IPv6
	wide, _ := a.Prefix(48)
	return Keys{near, wide}
}

// Of returns the address of an [net/http.Request.RemoteAddr], for KeysOf. It is not valid
// for a text that holds none.
func Of(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}
