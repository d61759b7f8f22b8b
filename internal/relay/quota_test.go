package relay

import (
	"fmt"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// An inbox may have MaxAllocations. Others are not affected, and ended allocations can be
// replaced.
func TestAllocationsOfAnInbox(t *testing.T) {
	s := start(t)
	var all []*speaker
	for range MaxAllocations {
		p := s.speak("udp", "alice")
		p.allocate()
		all = append(all, p)
	}
	if code, _ := s.speak("udp", "alice").ask(stun.MethodAllocate, udp); code != 486 {
		t.Errorf("one too many: %d, want 486", code)
	}
	if s.Figures.RefusedQuota.Load() == 0 {
		t.Error("the refusal is not counted")
	}
	s.speak("udp", "bob").allocate()
	if code, _ := all[0].ask(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0, 0)); code != 0 {
		t.Fatalf("the allocation was not ended: %d", code)
	}
	s.speak("tcp", "alice").allocate()
}

// The allocations of one address are bounded, however many inboxes it opens, and ended
// allocations can be replaced.
func TestAllocationsOfAnAddress(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		var first *speaker
		for i := range maxOfAddress {
			p := s.speaker(s.pipe(), s.keys.Mint(fmt.Sprint("peer", i/MaxAllocations), time.Now()))
			p.allocate()
			if first == nil {
				first = p
			}
		}
		next := s.speaker(s.pipe(), s.keys.Mint("newcomer", time.Now()))
		if code, _ := next.ask(stun.MethodAllocate, udp); code != 486 || s.Figures.RefusedAddress.Load() != 1 {
			t.Errorf("one too many: %d, want 486", code)
		}
		if code, _ := first.ask(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0, 0)); code != 0 {
			t.Fatalf("the allocation was not ended: %d", code)
		}
		next.allocate()
	})
}

// A client that ends its allocation and immediately creates another one keeps the new
// one.
func TestNextAllocationStays(t *testing.T) {
	eachMode(t, func(t *testing.T, s *service) {
		p := s.speak("udp", "alice")
		for i := range 200 {
			p.allocate()
			if code, _ := p.ask(stun.MethodRefresh); code != 0 {
				t.Fatalf("allocation %d is gone: %d", i, code)
			}
			if code, _ := p.ask(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0, 0)); code != 0 {
				t.Fatalf("allocation %d cannot be ended: %d", i, code)
			}
		}
	})
}
