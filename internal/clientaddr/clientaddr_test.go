package clientaddr

import (
	"net/netip"
	"strings"
	"testing"
)

func TestKeysOf(t *testing.T) {
	for _, c := range []struct{ address, near, wide string }{
		{"192.0.2.7", "192.0.2.7/32", ""},
		{"::ffff:192.0.2.7", "192.0.2.7/32", ""},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"fe80::1%eth0", "fe80::/64", "fe80::/48"},
		{"::1", "::/64", "::/48"},
	} {
		keys := KeysOf(netip.MustParseAddr(c.address))
		if keys.Near.String() != c.near || keys.Wide.IsValid() != (c.wide != "") || c.wide != "" && keys.Wide.String() != c.wide {
			t.Errorf("%s counts for %v and %v, want %s and %q", c.address, keys.Near, keys.Wide, c.near, c.wide)
		}
	}
	if keys := KeysOf(netip.Addr{}); keys.Near.IsValid() || keys.Wide.IsValid() {
		t.Errorf("an invalid address counts for %v", keys)
	}
}

func TestOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7", "192.0.2.7:0": "192.0.2.7", "[2001:db8::1]:443": "2001:db8::1",
		"[::ffff:192.0.2.7]:1": "192.0.2.7", "[fe80::1%eth0]:1": "fe80::1%eth0",
	} {
		if got := Of(remote); got.String() != want {
			t.Errorf("%s: %v, want %s", remote, got, want)
		}
	}
	for _, remote := range []string{"", "@", "pipe", "192.0.2.7", "/run/x.sock"} {
		if got := Of(remote); got.IsValid() {
			t.Errorf("%q: %v, want none", remote, got)
		}
	}
}

func TestParseTrusted(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "192.0.2.7": "192.0.2.7/32", "::1": "::1/128",
		"::ffff:10.0.0.0/104": "10.0.0.0/8", "::ffff:192.0.2.7": "192.0.2.7/32", "fd00::1/8": "fd00::/8", "0.0.0.0/0": "0.0.0.0/0",
	} {
		if got, err := ParseTrusted([]string{text}); err != nil || got.Networks[0].String() != want || got.Unix {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10.0.0.0/33", "10.0.0", "localhost", "fe80::1%eth0", "fe80::%eth0/64", "::ffff:0:0/64", "10.0.0.0/8 ", "Unix"} {
		if got, err := ParseTrusted([]string{text}); err == nil {
			t.Errorf("%q was parsed as %v, want an error", text, got)
		} else if !strings.Contains(err.Error(), "want at least") && !strings.Contains(err.Error(), "want a network") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if got, err := ParseTrusted([]string{"unix"}); err != nil || !got.Unix || !got.Any() {
		t.Errorf("unix: %v, %v", got, err)
	}
	if got, err := ParseTrusted(nil); err != nil || got.Any() {
		t.Errorf("nothing: %v, %v", got, err)
	}
}

// A walk is a test case of Walk. The trusted proxies are 10.0.0.0/8 and fd00::/8, and the
// peer is 10.0.0.1.
type walk struct {
	lines []string
	want  string
	bad   bool
}

func (c walk) test(t *testing.T, h Header) {
	t.Helper()
	trusted, err := ParseTrusted([]string{"10.0.0.0/8", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	got, bad := trusted.Walk(h, c.lines, netip.MustParseAddr("10.0.0.1"))
	if got.String() != c.want || bad != c.bad {
		t.Errorf("%s %q: %v, bad %v; want %s, bad %v", h, c.lines, got, bad, c.want, c.bad)
	}
}

func TestXForwardedFor(t *testing.T) {
	for _, c := range []walk{
		{[]string{"192.0.2.7"}, "192.0.2.7", false},
		{[]string{" \t192.0.2.7 "}, "192.0.2.7", false},
		// The client made up the first entry. Only the last untrusted address is
		// reliable.
		{[]string{"198.51.100.1, 192.0.2.7"}, "192.0.2.7", false},
		{[]string{"198.51.100.1,192.0.2.7,10.9.9.9,fd00::5"}, "192.0.2.7", false},
		{[]string{"nonsense, 192.0.2.7"}, "192.0.2.7", false},
		// Each proxy may have added its own line.
		{[]string{"198.51.100.1", "192.0.2.7", "10.2.3.4"}, "192.0.2.7", false},
		{[]string{"192.0.2.7", ""}, "192.0.2.7", false},
		{[]string{", 192.0.2.7, ,"}, "192.0.2.7", false},
		// All entries are proxies: the first one is the client.
		{[]string{"10.3.3.3, 10.2.2.2"}, "10.3.3.3", false},
		{[]string{""}, "10.0.0.1", false},
		{[]string{",,"}, "10.0.0.1", false},
		// Ports, brackets, IPv4-mapped IPv6.
		{[]string{"192.0.2.7:51234"}, "192.0.2.7", false},
		{[]string{"2001:db8::7"}, "2001:db8::7", false},
		{[]string{"[2001:db8::7]"}, "2001:db8::7", false},
		{[]string{"[2001:db8::7]:51234"}, "2001:db8::7", false},
		{[]string{"::ffff:192.0.2.7"}, "192.0.2.7", false},
		{[]string{"192.0.2.7, ::ffff:10.2.2.2"}, "192.0.2.7", false},
		// Entries without a possible client address.
		{[]string{"unknown"}, "10.0.0.1", true},
		{[]string{"192.0.2.7, unknown"}, "10.0.0.1", true},
		{[]string{"192.0.2.7, unknown, 10.2.2.2"}, "10.2.2.2", true},
		{[]string{"_hidden"}, "10.0.0.1", true},
		{[]string{"example.com"}, "10.0.0.1", true},
		{[]string{"192.0.2.7 198.51.100.1"}, "10.0.0.1", true},
		{[]string{"192.0.2.256"}, "10.0.0.1", true},
		{[]string{"192.0.2.07"}, "10.0.0.1", true},
		{[]string{"192.0.2.7:"}, "10.0.0.1", true},
		{[]string{"192.0.2.7:http"}, "10.0.0.1", true},
		{[]string{"192.0.2.7:123456"}, "10.0.0.1", true},
		{[]string{"[192.0.2.7]"}, "10.0.0.1", true},
		{[]string{"[2001:db8::7"}, "10.0.0.1", true},
		{[]string{"[2001:db8::7]51234"}, "10.0.0.1", true},
		{[]string{"[2001:db8::7]:"}, "10.0.0.1", true},
		{[]string{"[fe80::1%eth0]"}, "10.0.0.1", true},
		{[]string{"fe80::1%eth0"}, "10.0.0.1", true},
		{[]string{"fe80::1%25eth0"}, "10.0.0.1", true},
		{[]string{"0.0.0.0"}, "10.0.0.1", true},
		{[]string{"::"}, "10.0.0.1", true},
		{[]string{"::ffff:0.0.0.0"}, "10.0.0.1", true},
		{[]string{"224.0.0.1"}, "10.0.0.1", true},
		{[]string{"ff02::1"}, "10.0.0.1", true},
		{[]string{"255.255.255.255"}, "10.0.0.1", true},
		{[]string{"\"192.0.2.7\""}, "10.0.0.1", true},
		{[]string{"for=192.0.2.7"}, "10.0.0.1", true},
		{[]string{strings.Repeat("9", 10_000)}, "10.0.0.1", true},
		{[]string{strings.Repeat("10.1.1.1,", 1_000)}, "10.1.1.1", false},
	} {
		c.test(t, XForwardedFor)
	}
}

func TestForwarded(t *testing.T) {
	for _, c := range []walk{
		{[]string{"for=192.0.2.7"}, "192.0.2.7", false},
		{[]string{`For="192.0.2.7";proto=https;by=10.0.0.1`}, "192.0.2.7", false},
		{[]string{`proto=https; host="a,b;c"; for="[2001:db8::7]:4711"`}, "2001:db8::7", false},
		{[]string{`for="[2001:db8::7]"`}, "2001:db8::7", false},
		{[]string{`for="192.0.2.7:4711"`}, "192.0.2.7", false},
		{[]string{`for="192.0.2.7:_port"`}, "192.0.2.7", false},
		{[]string{"for=198.51.100.1, for=192.0.2.7", "for=10.2.2.2"}, "192.0.2.7", false},
		{[]string{"for=198.51.100.1, , for=192.0.2.7,"}, "192.0.2.7", false},
		{[]string{`for=192.0.2.7;host="a\"b, for=198.51.100.1"`}, "192.0.2.7", false},
		{[]string{`for=192.0.2.7;host="a\\"`}, "192.0.2.7", false},
		{[]string{"for=192.0.2.7;"}, "192.0.2.7", false},
		{[]string{"for=::ffff:192.0.2.7"}, "10.0.0.1", true},
		{[]string{`for="[::ffff:192.0.2.7]"`}, "192.0.2.7", false},
		// A client cannot hide what a proxy appends.
		{[]string{`for="198.51.100.1, for=192.0.2.7`}, "192.0.2.7", false},
		{[]string{`for=198.51.100.1;x="\`, "for=192.0.2.7"}, "192.0.2.7", false},
		{[]string{`"\", for=192.0.2.7`}, "192.0.2.7", false},
		{[]string{"for=unknown"}, "10.0.0.1", true},
		{[]string{"for=_hidden"}, "10.0.0.1", true},
		{[]string{`for="_SEVKISEK"`}, "10.0.0.1", true},
		{[]string{"for=192.0.2.7, for=unknown, for=10.2.2.2"}, "10.2.2.2", true},
		{[]string{"proto=https"}, "10.0.0.1", true},
		{[]string{"192.0.2.7"}, "10.0.0.1", true},
		{[]string{"for"}, "10.0.0.1", true},
		{[]string{"for="}, "10.0.0.1", true},
		{[]string{`for="`}, "10.0.0.1", true},
		{[]string{`for=""`}, "10.0.0.1", true},
		{[]string{"for=192.0.2.7;for=198.51.100.1"}, "10.0.0.1", true},
		{[]string{"for=192.0.2.7;nonsense"}, "10.0.0.1", true},
		{[]string{"for = 192.0.2.7"}, "10.0.0.1", true},
		{[]string{"for=[2001:db8::7]:http"}, "10.0.0.1", true},
		{[]string{`for="[fe80::1%eth0]"`}, "10.0.0.1", true},
		{[]string{`for="\192.0.2.7"`}, "10.0.0.1", true},
		{[]string{""}, "10.0.0.1", false},
		{[]string{`";;,,==""\`}, "10.0.0.1", true},
	} {
		c.test(t, Forwarded)
	}
}

// For any header, the client is a possible address, and Walk finds an entry that a trusted
// proxy appended.
func FuzzWalk(f *testing.F) {
	for _, line := range []string{"192.0.2.7", `for="[2001:db8::7]:1";by=_x, for=10.0.0.1`, `","`, `\"`, "[::]:", "10.0.0.2,,"} {
		f.Add(line)
	}
	trusted, err := ParseTrusted([]string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	peer, client := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.7")
	f.Fuzz(func(t *testing.T, line string) {
		for h, entry := range map[Header]string{XForwardedFor: "192.0.2.7", Forwarded: `host="a,b";for=192.0.2.7`} {
			if got, _ := trusted.Walk(h, []string{line}, peer); !MayBeClient(got) {
				t.Errorf("%s %q: the client is %v", h, line, got)
			}
			for _, lines := range [][]string{{line + ", " + entry}, {line, entry}, {line, entry + ","}} {
				if got, bad := trusted.Walk(h, lines, peer); got != client || bad {
					t.Errorf("%s %q: the client is %v, bad %v", h, lines, got, bad)
				}
			}
		}
	})
}

// BenchmarkWalk measures what each request through a proxy costs extra.
func BenchmarkWalk(b *testing.B) {
	trusted, err := ParseTrusted([]string{"10.0.0.0/8", "172.16.0.0/12", "fd00::/8"})
	if err != nil {
		b.Fatal(err)
	}
	peer := netip.MustParseAddr("10.0.0.1")
	lines := map[Header][]string{XForwardedFor: {"192.0.2.7, 172.16.3.4"}, Forwarded: {`for=192.0.2.7;proto=https, for="172.16.3.4"`}}
	for h, lines := range lines {
		b.Run(string(h), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				trusted.Walk(h, lines, peer)
			}
		})
	}
}
