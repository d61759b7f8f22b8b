package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"inbox/internal/inboxtest"
	"inbox/internal/turncred"
)

// opened is open mode on the loopback interface, which must be allowed explicitly.
func opened(c *Config) {
	c.Open = &Open{
		Addresses: []Mapped{
			{Public: netip.MustParseAddr("127.0.0.1"), Local: netip.MustParseAddr("127.0.0.1")},
			{Public: netip.IPv6Loopback(), Local: netip.IPv6Loopback()},
		},
		First: 42000, Last: 42999,
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")},
	}
}

func eachMode(t *testing.T, f func(*testing.T, *service)) {
	t.Run("closed", func(t *testing.T) { f(t, start(t)) })
	t.Run("open", func(t *testing.T) { f(t, start(t, opened)) })
}

// TCP relaying (RFC 6062) would give access to this network.
func TestTCPIsNotRelayed(t *testing.T) {
	eachMode(t, func(t *testing.T, s *service) {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		for _, transport := range []string{"udp", "tcp"} {
			p := s.speak(transport, "alice")
			if code, _ := p.ask(stun.MethodAllocate, raw(stun.AttrRequestedTransport, 6, 0, 0, 0)); code != 508 {
				t.Errorf("%s: an allocation of TCP: %d, want 508", transport, code)
			}
			p.allocate()
			target := peer(net.IPv4(127, 0, 0, 1), ln.Addr().(*net.TCPAddr).Port)
			if code, _ := p.ask(stun.MethodConnect, target); code != 403 && code != 447 {
				t.Errorf("%s: a connection to this machine: %d, want 403 or 447", transport, code)
			}
			if code, _ := p.ask(stun.MethodConnectionBind, raw(stun.AttrConnectionID, 1, 2, 3, 4)); code != 400 {
				t.Errorf("%s: binding a connection that does not exist: %d, want 400", transport, code)
			}
		}
		ln.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
		if c, err := ln.Accept(); err == nil {
			c.Close()
			t.Error("the relay has connected to this machine")
		}
	})
}

// spellings returns n addresses to which nothing may be relayed, in every notation that
// an address has.
func spellings(n int) (all []net.IP) {
	own := MachineAddresses()
	for len(all) < n {
		prefix := denied[rand.IntN(len(denied))]
		a := prefix.Addr().AsSlice()
		for i := range a { // a random address in the prefix
			keep := min(max(prefix.Bits()-8*i, 0), 8)
			a[i] = a[i]&^byte(0xFF>>keep) | byte(rand.IntN(256))&byte(0xFF>>keep)
		}
		if len(a) == net.IPv4len && rand.IntN(4) == 0 {
			a = own[rand.IntN(len(own))].AsSlice()
		}
		if len(a) == net.IPv6len {
			all = append(all, a)
			continue
		}
		for _, form := range []string{"::ffff:0:0", "::", "64:ff9b::", "64:ff9b:1::", "2002::", "::ffff:0:0:0", "2001::", "fe80::5efe:0:0"} {
			b := netip.MustParseAddr(form).As16()
			copy(b[12:], a)
			if form == "2002::" {
				copy(b[2:6], a)
			}
			if form == "2001::" {
				for i := range 4 {
					b[12+i] ^= 0xFF
				}
			}
			all = append(all, b[:])
		}
		all = append(all, a)
	}
	return all[:n]
}

// No notation of a denied address gets a permission or a channel.
func TestDeniedPeersGetNoPermission(t *testing.T) {
	eachMode(t, func(t *testing.T, s *service) {
		own := map[string]bool{"198.51.100.1": s.Server.relays.permits(virtual), "127.0.0.1": true, "::1": true}
		speakers := []*speaker{s.speak("udp", "alice")}
		speakers[0].allocate()
		if _, isOpen := s.relays.(*open); isOpen {
			p := s.speak("udp", "bob")
			if code, _ := p.ask(stun.MethodAllocate, udp, ipv6); code != 0 {
				t.Fatalf("no allocation of IPv6: %d", code)
			}
			speakers = append(speakers, p)
		} else {
			delete(own, "127.0.0.1")
			delete(own, "::1")
		}
		granted := 0
		const all = 4000
		for i, ip := range spellings(all) {
			if own[ip.String()] {
				continue
			}
			for _, p := range speakers {
				code, _ := p.ask(stun.MethodCreatePermission, peer(ip, 1+rand.IntN(65535)))
				if code != 403 && code != 443 {
					granted++
					t.Errorf("permission for %v: %d", ip, code)
				}
				code, _ = p.ask(stun.MethodChannelBind, peer(ip, 1+rand.IntN(65535)), channel(0x4000+uint16(i)))
				if code != 401 && code != 443 && code != 403 {
					granted++
					t.Errorf("channel for %v: %d", ip, code)
				}
			}
		}
		t.Logf("%d of %d got a permission", granted, all)
	})
}

// Sockets of this machine are unreachable through the relay, even if its address may be a
// peer.
func TestLocalPortsAreUnreachable(t *testing.T) {
	eachMode(t, func(t *testing.T, s *service) {
		victim, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer victim.Close()
		port := victim.LocalAddr().(*net.UDPAddr).Port
		p := s.speak("udp", "alice")
		p.allocate()
		for _, ip := range []net.IP{net.IPv4(127, 0, 0, 1), net.IP(virtual.AsSlice())} {
			p.ask(stun.MethodCreatePermission, peer(ip, port))
			send, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peer(ip, port), raw(stun.AttrData, []byte("attack")...))
			if err != nil {
				t.Fatal(err)
			}
			p.conn.Write(send.Raw)
		}
		p.ask(stun.MethodRefresh) // the response follows the packets' handling
		victim.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, from, err := victim.ReadFrom(make([]byte, 100)); err == nil {
			t.Errorf("%d bytes from %v", n, from)
		}
	})
}

// An allocation only receives from allocations that it has sent to.
func TestPacketsFromStrangersAreDropped(t *testing.T) {
	s := start(t)
	a, b, stranger := s.allocate("udp", "alice"), s.allocate("udp", "bob"), s.allocate("udp", "mallory")
	s.meet(a, b)
	before := s.Figures.DroppedPeer.Load()
	if _, err := stranger.WriteTo([]byte("spray"), a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	inboxtest.Until(t, "the packet is dropped", func() bool { return s.Figures.DroppedPeer.Load() > before })
	a.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, from, err := a.ReadFrom(make([]byte, 100)); err == nil {
		t.Errorf("%d bytes from %v", n, from)
	}
}

// An allocation with more channels than any call needs is ended, since pion searches them
// linearly for each packet.
func TestChannelsAreCapped(t *testing.T) {
	s := start(t)
	p := s.speak("udp", "alice")
	p.allocate()
	for i := range maxChannels {
		if code, _ := p.ask(stun.MethodChannelBind, peer(virtual.AsSlice(), firstPort+i), channel(0x4000+uint16(i))); code != 0 {
			t.Fatalf("channel %d: %d", i, code)
		}
	}
	if code, _ := p.ask(stun.MethodChannelBind, peer(virtual.AsSlice(), firstPort), channel(0x4000)); code != 0 || s.Figures.Allocations.Load() != 1 {
		t.Errorf("refreshing a channel: %d", code)
	}
	p.ask(stun.MethodChannelBind, peer(virtual.AsSlice(), firstPort+maxChannels), channel(0x4000+maxChannels))
	inboxtest.Until(t, "the allocation has ended", func() bool { return s.Figures.Allocations.Load() == 0 })
	if s.Figures.EndedGreed.Load() != 1 {
		t.Error("the end is not counted")
	}
}

// The same holds for permissions, in open mode.
func TestPermissionsAreCapped(t *testing.T) {
	s := start(t, opened)
	p := s.speak("udp", "alice")
	p.allocate()
	for i := 0; i <= maxPermissions && s.Figures.EndedGreed.Load() == 0; i++ {
		p.ask(stun.MethodCreatePermission, peer(net.IPv4(8, 8, byte(i>>8), byte(i)), 1))
	}
	inboxtest.Until(t, "the allocation has ended", func() bool {
		return s.Figures.EndedGreed.Load() == 1 && s.Figures.Allocations.Load() == 0
	})
}

// Ports cannot be chosen, reserved or probed.
func TestRefusedAllocations(t *testing.T) {
	s := start(t)
	for name, attributes := range map[string][]stun.Setter{
		"an even port":              {udp, raw(stun.AttrEvenPort, 0)},
		"a pair of ports":           {udp, raw(stun.AttrEvenPort, 0x80)},
		"a reserved port":           {udp, raw(stun.AttrReservationToken, []byte("12345678")...)},
		"an unknown protocol":       {raw(stun.AttrRequestedTransport, 99, 0, 0, 0)},
		"no protocol":               {},
		"packets without fragments": {udp, raw(stun.AttrDontFragment)},
	} {
		if code, _ := s.speak("udp", "alice").ask(stun.MethodAllocate, attributes...); code < 400 {
			t.Errorf("%s: %d, want an error", name, code)
		}
	}
	if n := s.Figures.Allocated.Load(); n != 0 {
		t.Errorf("%d allocations were made", n)
	}
}

// Clients over IPv6 get the same virtual address as others, so that they can connect,
// whether or not they request another family, as pion does.
func TestClientsOverBothFamiliesMeet(t *testing.T) {
	s := start(t)
	for _, transport := range []string{"udp", "tcp"} {
		for name, attributes := range map[string][]stun.Setter{"no family": {udp}, "IPv6": {udp, ipv6}, "IPv4": {udp, raw(stun.AttrRequestedAddressFamily, 1, 0, 0, 0)}} {
			code, answer := s.speak(transport, "alice").ask(stun.MethodAllocate, attributes...)
			if code != 0 || !relayedAddress(t, answer).IP.Equal(virtual.AsSlice()) {
				t.Errorf("%s over %s: %d, %v", name, transport, code, answer)
			}
		}
		p := s.speak(transport, "alice")
		p.password = "wrong"
		if code, _ := p.ask(stun.MethodAllocate, udp, ipv6); code != 401 {
			t.Errorf("a wrong password over %s: %d, want 401", transport, code)
		}
		if code, _ := s.speak(transport, "alice").ask(stun.MethodAllocate, udp, raw(stun.AttrRequestedAddressFamily, 9, 0, 0, 0)); code != 440 {
			t.Errorf("an unknown family over %s: %d, want 440", transport, code)
		}
	}
	port, err := s.ListenUDP(netip.IPv6Loopback(), 0)
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	conn, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	client := s.client("udp", "alice", func(c *turn.ClientConfig) {
		c.Conn.Close()
		c.Conn, c.TURNServerAddr = conn, netip.AddrPortFrom(netip.IPv6Loopback(), port).String()
		c.RequestedAddressFamily = turn.RequestedAddressFamilyIPv6
	})
	relayed, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	s.Cleanup(func() { relayed.Close() })
	s.meet(relayed, s.allocate("udp", "bob"))
}

// Invalid credentials of every kind are refused and counted by reason.
func TestInvalidCredentials(t *testing.T) {
	s := start(t)
	minted := s.keys.Mint("alice", time.Now())
	expired := s.keys.Mint("alice", time.Now().Add(-turncred.Lifetime))
	foreign := turncred.FromPepper([32]byte{2}).Mint("alice", time.Now())
	for name, c := range map[string]struct {
		change  func(*speaker)
		counted func() int64
	}{
		"another realm":        {func(p *speaker) { p.realm = "other" }, s.Figures.RefusedRealm.Load},
		"an unknown user name": {func(p *speaker) { p.username = "alice" }, s.Figures.RefusedName.Load},
		"expired":              {func(p *speaker) { p.username, p.password = expired.Username, expired.Password }, s.Figures.RefusedExpired.Load},
		"another pepper":       {func(p *speaker) { p.username, p.password = foreign.Username, foreign.Password }, s.Figures.RefusedPassword.Load},
		"a wrong password":     {func(p *speaker) { p.password = "x" }, s.Figures.RefusedPassword.Load},
		"a later expiry":       {func(p *speaker) { p.username = "9" + minted.Username[1:] }, s.Figures.RefusedPassword.Load},
		"another inbox":        {func(p *speaker) { p.username = s.keys.Mint("bob", time.Now()).Username }, s.Figures.RefusedPassword.Load},
		"an empty password":    {func(p *speaker) { p.password = "" }, s.Figures.RefusedPassword.Load},
	} {
		for _, transport := range []string{"udp", "tcp"} {
			p := s.speak(transport, "alice")
			c.change(p)
			before := c.counted()
			if code, _ := p.ask(stun.MethodAllocate, udp); code != 401 {
				t.Errorf("%s over %s: %d, want 401", name, transport, code)
			}
			if c.counted() != before+1 {
				t.Errorf("%s over %s: not counted", name, transport)
			}
		}
	}
}

// Requests with a forged source address cause few responses, which are not much larger
// than the requests.
func TestUnauthenticatedResponses(t *testing.T) {
	s := start(t)
	victim, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	target, err := net.ResolveUDPAddr("udp4", s.udp)
	if err != nil {
		t.Fatal(err)
	}
	const headers = 20 + 8 // IP and UDP
	forged := stun.NewNonce(strings.Repeat("x", 25))
	requests := [][]stun.Setter{
		{stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)},
		{stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udp},
		{stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest)},
		{stun.TransactionID, stun.BindingRequest},
		{stun.TransactionID, stun.BindingRequest, raw(0x7777)},
		{stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udp, forged, stun.MessageIntegrity("x")},
		{stun.TransactionID, stun.NewType(stun.MethodConnect, stun.ClassRequest)},
		{stun.TransactionID, stun.NewType(stun.MethodChannelBind, stun.ClassRequest)},
	}
	worst := 0.
	for _, setters := range requests {
		request, err := stun.Build(setters...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := victim.WriteTo(request.Raw, target); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1600)
		victim.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := victim.ReadFrom(buf)
		if err != nil {
			t.Fatalf("no response to %v: %v", request.Type, err)
		}
		worst = max(worst, float64(n+headers)/float64(len(request.Raw)+headers))
	}
	t.Logf("a response has at most %.2f times the bytes of its request", worst)
	if worst > 2.5 {
		t.Error("the amplification is too large")
	}
	begun, answers := time.Now(), 0
	for i := range 600 {
		request, err := stun.Build(requests[i%len(requests)]...)
		if err != nil {
			t.Fatal(err)
		}
		victim.WriteTo(request.Raw, target)
		victim.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
		if _, _, err := victim.ReadFrom(make([]byte, 1600)); err == nil {
			answers++
		}
	}
	if most := 100 + 10*int(time.Since(begun).Seconds()+1); answers > most || answers == 0 {
		t.Errorf("%d answers in %v, want at most %d", answers, time.Since(begun), most)
	}
	if s.Figures.DroppedSource.Load() == 0 {
		t.Error("dropped responses are not counted")
	}
	// A client with credentials behind the same address still works over TCP.
	s.speak("tcp", "alice").allocate()
}

// Data that is not TURN gets no response and ends nothing.
func TestGarbage(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("udp", s.udp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2000 {
		b := make([]byte, rand.IntN(60))
		for i := range b {
			b[i] = byte(rand.IntN(256))
		}
		if len(b) > 20 && rand.IntN(2) == 0 { // almost a STUN message
			copy(b[4:], "\x21\x12\xa4\x42")
			b[0] &= 3
		}
		conn.Write(b)
	}
	for range 50 {
		c, err := net.Dial("tcp", s.tcp)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1+rand.IntN(3000))
		for i := range b {
			b[i] = byte(rand.IntN(256))
		}
		c.Write(b)
		c.Close()
	}
	s.speak("udp", "alice").allocate()
	inboxtest.Until(t, "the connections have ended", func() bool { return s.Figures.Connections.Load() == 0 })
}

// The log contains no user names or addresses, even at its lowest level.
func TestLogContainsNoIdentities(t *testing.T) {
	var out bytes.Buffer
	s := start(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	p := s.speak("udp", "alice")
	p.allocate()
	p.ask(stun.MethodCreatePermission, peer(net.IPv4(10, 1, 2, 3), 4))
	p.ask(stun.MethodChannelBind, peer(net.IPv4(10, 1, 2, 3), 4), channel(0x4000))
	p.ask(stun.MethodAllocate, raw(0x7777, 1), udp)
	bad := s.speak("tcp", "bob")
	bad.password = "wrong"
	bad.ask(stun.MethodAllocate, udp)
	client := s.client("tcp", "carol", func(c *turn.ClientConfig) { c.Username += "x" })
	if _, err := client.Allocate(); err == nil {
		t.Error("an invalid user name got an allocation")
	}
	client.Close()
	s.Close()
	inboxtest.Until(t, "everything has ended", func() bool { return s.Figures.Connections.Load() == 0 })
	for _, secret := range []string{"127.0.0.1", "10.1.2.3", "198.51.100.1", p.username, bad.username, "wrong", fmt.Sprint(p.conn.LocalAddr())} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is in the log:\n%s", secret, out.String())
		}
	}
}
