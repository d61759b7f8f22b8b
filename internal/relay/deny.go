package relay

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// denied are ranges to which no packet is relayed: this machine, its network, and
// addresses that stand for others. They cover the special-purpose addresses that are not
// globally reachable (RFC 6890), and addresses where clouds serve secrets.
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

// Private reports whether an address is in a denied range, including IPv4-mapped forms.
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

// interfaces caches the addresses of this machine, which may change.
type interfaces struct {
	mu     sync.Mutex // guards the fields below
	looked time.Time
	all    map[netip.Addr]bool
}

// have reports whether an address belongs to this machine. The result may be a minute
// old.
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

// MachineAddresses returns the addresses of this machine, except for link-local ones.
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
