package limit

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestShares(t *testing.T) {
	s := NewShares(100)
	take := func(address string, n int) bool { return s.Take(netip.MustParseAddr(address), n) }
	for _, step := range []struct {
		address string
		n       int
		want    bool
	}{
		{"192.0.2.1", 60, true},
		{"192.0.2.1", 41, false},
		{"::ffff:192.0.2.1", 40, true},
		{"192.0.2.1", 1, false},
		{"192.0.2.2", 100, true},
		{"2001:db8::1", 100, true},
		{"2001:db8::2", 1, false},
		{"2001:db8:0:1::", 100, true},
	} {
		if got := take(step.address, step.n); got != step.want {
			t.Errorf("%s takes %d: %v, want %v", step.address, step.n, got, step.want)
		}
	}
	s.Give(alice, 60)
	if !take("192.0.2.1", 60) || take("192.0.2.1", 1) {
		t.Error("after 60 were given back, want room for 60")
	}
	for i := 2; i < 20; i++ {
		if got, want := take(fmt.Sprintf("2001:db8:0:%x::", i), 100), i < 16; got != want {
			t.Errorf("the /64 number %d of a /48: %v, want %v", i, got, want)
		}
	}
}

// Shares forget a client that has nothing left.
func TestSharesForget(t *testing.T) {
	s := NewShares(10)
	addresses := []netip.Addr{alice, netip.MustParseAddr("2001:db8::1")}
	for range 2 {
		for _, a := range addresses {
			if !s.Take(a, 10) || s.Take(a, 1) {
				t.Errorf("%v: want room for 10", a)
			}
		}
		for _, a := range addresses {
			s.Give(a, 10)
		}
	}
	for i := range s.shards {
		if n := s.shards[i].used.Len(); n != 0 {
			t.Errorf("%d networks are remembered, want none", n)
		}
	}
	if !s.Take(netip.Addr{}, 1<<40) {
		t.Error("an invalid address was refused")
	}
	s.Give(netip.Addr{}, 1<<40)
	var off *Shares = NewShares(0)
	if !off.Take(alice, 1<<40) {
		t.Error("Shares without a limit refused")
	}
	off.Give(alice, 1<<40)
}

// Forced units count like taken ones, and only they can exceed the limit.
func TestForce(t *testing.T) {
	s := NewShares(2)
	one, neighbor := netip.MustParseAddr("2001:db8:0:1::1"), netip.MustParseAddr("2001:db8:0:1::2")
	s.Take(one, 1)
	s.Force(neighbor, 1)
	if s.Over(one) || s.Take(one, 1) {
		t.Error("two of two units exceed the limit, or leave room")
	}
	s.Force(neighbor, 1)
	if !s.Over(one) {
		t.Error("three of two units do not exceed the limit")
	}
	for i := range 2*wider - 3 { // no /64 exceeds its own limit
		s.Force(netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::", 2+i/2)), 1)
	}
	if last := netip.MustParseAddr("2001:db8:0:ff::"); s.Over(last) {
		t.Error("a /48 at its limit exceeds it")
	} else if s.Force(last, 1); !s.Over(last) {
		t.Error("a /48 beyond its limit does not exceed it")
	}
	s.Give(neighbor, 2)
	if s.Over(one) {
		t.Error("the limit is still exceeded after the units were given back")
	}
	var none *Shares
	none.Force(one, 1)
	if none.Over(one) {
		t.Error("Shares without a limit are exceeded")
	}
}
