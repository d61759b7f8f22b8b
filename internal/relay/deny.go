package relay

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// denied are the ranges that no relayed packet may go to: this machine, its network, and
// addresses that stand for others. What the tables of special-purpose addresses (RFC 6890)
// call not globally reachable is here, and what some clouds serve secrets at.
var denied = func() (all []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/8", "64:ff9b::/96", "64:ff9b:1::/48", "100::/8", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48",
		"3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}()

// Private reports whether an address is in a denied range, in whichever form it is
// written.
func Private(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return true
	}
	for _, p := range denied {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// interfaces knows the addresses of this machine, which may change.
type interfaces struct {
	mu     sync.Mutex // guards what follows
	looked time.Time
	all    map[netip.Addr]bool
}

// have reports whether an address is one of this machine, as of the last minute.
func (i *interfaces) have(a netip.Addr) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now := time.Now(); i.all == nil || now.Sub(i.looked) > time.Minute {
		i.looked, i.all = now, make(map[netip.Addr]bool)
		for _, own := range MachineAddresses() {
			i.all[own] = true
		}
	}
	return i.all[a]
}

// MachineAddresses returns the addresses of this machine, but for those that need a zone.
func MachineAddresses() (all []netip.Addr) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		if ok = ok && !ip.IsLinkLocalUnicast(); ok {
			all = append(all, ip.Unmap())
		}
	}
	return all
}
