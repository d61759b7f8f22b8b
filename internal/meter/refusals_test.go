package meter

import (
	"net/netip"
	"slices"
	"testing"
)

func TestReasonsHaveNames(t *testing.T) {
	var names []string
	for _, r := range Reasons() {
		if r.String() == "" || r.Meaning() == "" || slices.Contains(names, r.String()) {
			t.Errorf("reason %d is %q (%q): want a unique name and a meaning", r, r, r.Meaning())
		}
		names = append(names, r.String())
	}
}

func TestReasonOfCode(t *testing.T) {
	if r, ok := ReasonOf("inbox-full"); r != InboxFull || !ok {
		t.Errorf("inbox-full is the reason %v, %v", r, ok)
	}
	for _, code := range []string{"rate-limited", "replaced", "address-requests", ""} {
		if r, ok := ReasonOf(code); ok {
			t.Errorf("the code %q yields the reason %v, want none", code, r)
		}
	}
}

func TestNetworks(t *testing.T) {
	for _, c := range []struct {
		clients       bool
		address, want string
	}{
		{false, "203.0.113.77", "203.0.113.0/24"},
		{false, "::ffff:203.0.113.77", "203.0.113.0/24"},
		{false, "2001:db8:1:2:3::4", "2001:db8:1::/48"},
		{false, "fe80::1%eth0", "fe80::/48"},
		{true, "203.0.113.77", "203.0.113.77/32"},
		{true, "2001:db8:1:2:3::4", "2001:db8:1:2:3::4/128"},
	} {
		r := NewRefusals(c.clients)
		r.Add(TooLarge, netip.MustParseAddr(c.address))
		got := r.Take()[TooLarge]
		if len(got) != 1 || got[0].Network.String() != c.want || got[0].Count != 1 {
			t.Errorf("%s (full addresses: %v) is remembered as %v, want %s once", c.address, c.clients, got, c.want)
		}
	}
}

func TestUnknownClient(t *testing.T) {
	r := NewRefusals(false)
	r.Add(TooLarge, netip.Addr{})
	if got := r.Take()[TooLarge]; len(got) != 1 || got[0].Network.IsValid() || r.Count(TooLarge) != 1 {
		t.Errorf("a client without an address is remembered as %v", got)
	}
	var none *Refusals
	none.Add(TooLarge, netip.Addr{}) // counts nothing
}

func TestTakeForgetsAndOrders(t *testing.T) {
	r := NewRefusals(false)
	for i, n := range []int{1, 3, 2} {
		for range n {
			r.Add(Unauthorized, netip.AddrFrom4([4]byte{10, 0, byte(i), 1}))
		}
	}
	var order []uint64
	for _, s := range r.Take()[Unauthorized] {
		order = append(order, s.Count)
	}
	if !slices.Equal(order, []uint64{3, 2, 1}) {
		t.Errorf("the sources have the counts %v, want descending order", order)
	}
	if again := r.Take(); len(again) != 0 || r.Count(Unauthorized) != 6 {
		t.Errorf("a second Take returns %v and the count is %d: want nothing, and 6", again, r.Count(Unauthorized))
	}
}

// An attacker with very many networks cannot fill the memory or hide another network that
// is refused often.
func TestManyNetworksDoNotHideOne(t *testing.T) {
	r := NewRefusals(false)
	loud := netip.MustParseAddr("192.0.2.1")
	const networks = 100_000
	for i := range networks {
		r.Add(AddressRequests, netip.AddrFrom16([16]byte{0x20, 1, byte(i >> 16), byte(i >> 8), byte(i), 0}))
		if i%10 == 0 {
			r.Add(AddressRequests, loud)
		}
	}
	got := r.Take()[AddressRequests]
	if len(got) > refusalShards*networksPerShard {
		t.Errorf("%d networks are remembered, more than %d", len(got), refusalShards*networksPerShard)
	}
	if len(got) == 0 || !got[0].Network.Contains(loud) || got[0].Count > networks/10 {
		t.Errorf("the most refused network is not first, or its count is too high: %v", got[:min(3, len(got))])
	}
	if n := r.Count(AddressRequests); n != networks+networks/10 {
		t.Errorf("counted %d refusals, want all %d", n, networks+networks/10)
	}
}

func BenchmarkRefusals(b *testing.B) {
	r := NewRefusals(false)
	b.RunParallel(func(pb *testing.PB) {
		for i := uint32(0); pb.Next(); i++ {
			r.Add(AddressRequests, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		}
	})
}
