package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"inbox/internal/inboxtest"
)

// Behind a 1:1 NAT without hairpinning, two allocations of the machine reach each other
// at its public address.
func TestOwnAllocationsMeetBehindNAT(t *testing.T) {
	public, local := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("127.0.0.1")
	s := start(t, func(c *Config) {
		c.Open = &Open{Addresses: []Mapped{{Public: public, Local: local}}, First: 42000, Last: 42999}
	})
	a, b := s.allocate("udp", "alice"), s.allocate("tcp", "bob")
	for _, c := range []net.PacketConn{a, b} {
		u := c.LocalAddr().(*net.UDPAddr)
		if !u.IP.Equal(public.AsSlice()) || u.Port < 42000 || u.Port > 42999 {
			t.Errorf("relayed address %v", u)
		}
	}
	s.meet(a, b)
	if _, err := a.WriteTo([]byte("hello"), b.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	b.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, from, err := b.ReadFrom(make([]byte, 100)); err != nil || from.String() != a.LocalAddr().String() {
		t.Errorf("from %v, %v, want %v", from, err, a.LocalAddr())
	}
}

// Open mode reaches a peer that is not a client of the server, and only receives from
// peers with a permission. Packets from others do not count against the inbox's rate.
func TestOpenReachesOthers(t *testing.T) {
	s := start(t, opened, func(c *Config) {
		c.Open.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	relayed := s.allocate("udp", "alice")
	friend, err := net.ListenPacket("udp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer friend.Close()
	stranger, err := net.Dial("udp4", relayed.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for range 100 {
		stranger.Write(make([]byte, 1000))
	}
	if _, err := relayed.WriteTo([]byte("hello"), friend.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	friend.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, from, err := friend.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" || from.String() != relayed.LocalAddr().String() {
		t.Fatalf("%q from %v, %v", buf[:n], from, err)
	}
	friend.WriteTo([]byte("hi"), from)
	relayed.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, from, err = relayed.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hi" || from.String() != friend.LocalAddr().String() {
		t.Fatalf("%q from %v, %v", buf[:n], from, err)
	}
	inboxtest.Until(t, "both packets are counted, and none of the stranger's", func() bool {
		return s.Figures.Bytes.Load() == int64(len("hello")+len("hi"))
	})
}

// When no port is free, clients get error 508, and succeed once a port is free again.
func TestPortsRunOut(t *testing.T) {
	s := start(t, opened, func(c *Config) { c.Open.First, c.Open.Last = 41000, 41003 })
	var all []*speaker
	seen := make(map[int]bool)
	for range 4 {
		p := s.speak("udp", "alice")
		seen[p.allocate()] = true
		all = append(all, p)
	}
	if len(seen) != 4 || !seen[41000] || !seen[41003] {
		t.Errorf("ports %v", seen)
	}
	if code, _ := s.speak("udp", "bob").ask(stun.MethodAllocate, udp); code != 508 {
		t.Errorf("no port is left: %d, want 508", code)
	}
	all[0].ask(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0, 0))
	inboxtest.Until(t, "a port is free", func() bool { return s.Figures.Allocations.Load() == 3 })
	s.speak("udp", "bob").allocate()
}

// Invalid configurations are rejected before the server starts.
func TestOpenIsChecked(t *testing.T) {
	a, b := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.0.0.5")
	for name, o := range map[string]Open{
		"no address":             {First: 1, Last: 2},
		"no ports":               {Addresses: []Mapped{{a, b}}},
		"ports in reverse":       {Addresses: []Mapped{{a, b}}, First: 2, Last: 1},
		"a private address":      {Addresses: []Mapped{{b, b}}, First: 1, Last: 2},
		"two families":           {Addresses: []Mapped{{a, netip.IPv6Loopback()}}, First: 1, Last: 2},
		"an address twice":       {Addresses: []Mapped{{a, b}, {a, a}}, First: 1, Last: 2},
		"a local address twice":  {Addresses: []Mapped{{a, b}, {netip.MustParseAddr("8.8.4.4"), b}}, First: 1, Last: 2},
		"an unspecified address": {Addresses: []Mapped{{netip.MustParseAddr("0.0.0.0"), b}}, First: 1, Last: 2, Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		"a multicast address":    {Addresses: []Mapped{{netip.MustParseAddr("ff02::1"), netip.IPv6Loopback()}}, First: 1, Last: 2},
		"a private NAT pair":     {Addresses: []Mapped{{netip.MustParseAddr("192.168.1.1"), b}}, First: 1, Last: 2},
	} {
		if o.Check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for name, o := range map[string]Open{
		"behind a NAT":               {Addresses: []Mapped{{a, b}}, First: 1, Last: 2},
		"both families":              {Addresses: []Mapped{{a, b}, {netip.MustParseAddr("2606:4700::1"), netip.MustParseAddr("fd00::1")}}, First: 1, Last: 1},
		"an allowed private address": {Addresses: []Mapped{{b, b}}, First: 1, Last: 2, Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
	} {
		if err := o.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Allowed ranges never include the addresses of this machine.
func TestAllowedRangesExcludeThisMachine(t *testing.T) {
	o := &open{Open: Open{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}}
	for _, own := range MachineAddresses() {
		if o.permits(own) {
			t.Errorf("%v is permitted", own)
		}
	}
	if !o.permits(netip.MustParseAddr("10.254.253.252")) {
		t.Error("an allowed address is refused")
	}
}
