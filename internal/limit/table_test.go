package limit

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var alice = netip.MustParseAddr("192.0.2.1")

// many attempts n events in a row and returns how many were allowed.
func many(t *Table, a netip.Addr, kind, n int) (taken int) {
	for range n {
		if t.Take(t.Key(a), kind, 1) == 0 {
			taken++
		}
	}
	return taken
}

func TestRateAndBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(1024, Rate{PerSecond: 300, Burst: 3000}, Rate{PerSecond: 1, Burst: 60})
		if n := many(table, alice, 0, 5000); n != 3000 {
			t.Errorf("a burst of %d, want 3000", n)
		}
		if n := many(table, alice, 1, 100); n != 60 {
			t.Errorf("a burst of %d of the other kind, want 60", n)
		}
		if n := many(table, netip.MustParseAddr("192.0.2.2"), 0, 5000); n != 3000 {
			t.Errorf("a burst of %d of another address, want 3000", n)
		}
		time.Sleep(time.Second)
		if n := many(table, alice, 0, 5000); n < 299 || n > 301 {
			t.Errorf("%d after a second, want 300", n)
		}
		if n := many(table, alice, 1, 100); n != 1 {
			t.Errorf("%d of the other kind after a second, want 1", n)
		}
		time.Sleep(time.Hour)
		if n := many(table, alice, 0, 5000); n != 3000 {
			t.Errorf("%d after an hour, want 3000", n)
		}
	})
}

// The returned wait is exact: a nanosecond earlier there is no room.
func TestWaitIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(8, Rate{PerSecond: 3, Burst: 2})
		key := table.Key(alice)
		table.Take(key, 0, 2)
		wait := table.Take(key, 0, 1)
		if wait != table.Wait(key, 0) || wait < 333*time.Millisecond || wait > 334*time.Millisecond {
			t.Fatalf("waits for %v and %v, want a third of a second", wait, table.Wait(key, 0))
		}
		time.Sleep(wait - 1)
		if got := table.Take(key, 0, 1); got != 1 {
			t.Errorf("waits for %v, want 1ns", got)
		}
		time.Sleep(time.Nanosecond)
		if got := table.Take(key, 0, 1); got != 0 {
			t.Errorf("waits for %v, want no wait", got)
		}
	})
}

func TestAddCountsBeyondTheBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(8, Rate{PerSecond: 1, Burst: 5})
		key := table.Key(alice)
		if full := table.Add(key, 0, 100); full != 100*time.Second {
			t.Errorf("full in %v, want 100 s", full)
		}
		if got := table.Wait(key, 0); got != 96*time.Second {
			t.Errorf("waits for %v, want 96 s", got)
		}
		table.Add(key, 0, 1000)
		if got := table.Wait(key, 0); got != 296*time.Second {
			t.Errorf("waits for %v, want 296 s: a bucket owes at most 60 times its burst", got)
		}
		table.Add(key, 0, -298)
		if n := many(table, alice, 0, 10); n != 3 {
			t.Errorf("%d had room, want the 3 that were reverted", n)
		}
	})
}

// An IPv6 client has a whole /64, and often a /48.
func TestIPv6Networks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(4096, Rate{PerSecond: 1, Burst: 10})
		for _, same := range []string{"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::1%eth0"} {
			if n := many(table, netip.MustParseAddr(same), 0, 4); n > 4 || same == "2001:db8:0:1::1%eth0" && n != 2 {
				t.Errorf("%s: %d", same, n)
			}
		}
		all := 0
		for subnet := range 1000 {
			all += many(table, netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", 16+subnet)), 0, 10)
		}
		if all != 150 { // 160 minus the 10 above
			t.Errorf("a /48 had room for %d, want 16 times 10, less 10", all)
		}
		if n := many(table, netip.MustParseAddr("2001:db8:1::1"), 0, 20); n != 10 {
			t.Errorf("another /48: %d, want 10", n)
		}
		if n := many(table, netip.MustParseAddr("::ffff:192.0.2.1"), 0, 6) + many(table, alice, 0, 20); n != 10 {
			t.Errorf("an address and the same mapped to IPv6: %d in all, want 10", n)
		}
		if n := many(table, netip.Addr{}, 0, 20); n != 10 {
			t.Errorf("the invalid address: %d, want 10", n)
		}
	})
}

// A refusal by the /48 does not use up the limit of the /64.
func TestRefusalByTheWiderNetworkCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(4096, Rate{PerSecond: 1, Burst: 1})
		for i := range 16 {
			many(table, netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::", i)), 0, 1)
		}
		fresh := netip.MustParseAddr("2001:db8:0:ff::")
		if n := many(table, fresh, 0, 100); n != 0 {
			t.Errorf("%d had room, want none", n)
		}
		time.Sleep(time.Second / wider)
		if n := many(table, fresh, 0, 100); n != 1 {
			t.Errorf("%d had room, want 1", n)
		}
	})
}

func TestNamesHaveSeparateBuckets(t *testing.T) {
	table := NewTable(64, Rate{PerSecond: 1e-6, Burst: 1})
	for _, name := range []string{"", "a", "b"} {
		if table.Take(table.KeyOf(alice, name), 0, 1) != 0 || table.Take(table.KeyOf(alice, name), 0, 1) == 0 {
			t.Errorf("name %q: want one", name)
		}
	}
}

func TestOffLimitsNothing(t *testing.T) {
	for name, table := range map[string]*Table{"nil": nil, "a rate of 0": NewTable(8, Rate{})} {
		if n := many(table, alice, 0, 10_000); n != 10_000 {
			t.Errorf("%s: %d had room, want all", name, n)
		}
		table.Add(table.Key(alice), 0, 1<<40)
		if table.Wait(table.Key(alice), 0) != 0 {
			t.Errorf("%s: waits", name)
		}
	}
}

// An attacker with very many addresses makes the table forget addresses that did little,
// rather than those at their limit, and the table does not grow.
func TestFullTableForgetsTheFullestBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(1<<16, Rate{PerSecond: 1, Burst: 60})
		size := table.Bytes()
		many(table, alice, 0, 60)
		for i := range 1 << 18 {
			table.Take(table.Key(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), 0, 1)
		}
		if n := many(table, alice, 0, 1); n != 0 {
			t.Error("the table forgot a client at its limit")
		}
		if table.Bytes() != size {
			t.Error("the table grew")
		}
		time.Sleep(2 * time.Minute) // all buckets are full, so any can be forgotten
		for i := range 1 << 18 {
			if table.Take(table.Key(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})), 0, 1) != 0 {
				t.Fatal("a new address was refused")
			}
		}
	})
}

// Concurrent events exhaust exactly the burst.
func TestConcurrentTakes(t *testing.T) {
	table := NewTable(64, Rate{PerSecond: 1e-3, Burst: 1000})
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if table.Take(table.Key(alice), 0, 1) == 0 {
					taken.Add(1)
				}
				table.Take(table.Key(netip.AddrFrom4([4]byte{10, 0, 0, byte(rand.N(8))})), 0, 1)
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 1000 {
		t.Errorf("%d had room, want 1000", n)
	}
}

func BenchmarkTake(b *testing.B) {
	table := NewTable(1<<16, Rate{PerSecond: 1e6, Burst: 1e9}, Rate{PerSecond: 10, Burst: 1000})
	b.ReportAllocs()
	for b.Loop() {
		table.Take(table.Key(alice), 0, 1)
	}
}

func BenchmarkTakeOfMany(b *testing.B) {
	table := NewTable(1<<16, Rate{PerSecond: 300, Burst: 3000}, Rate{PerSecond: 10, Burst: 1000})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := rand.Uint32()
			table.Take(table.Key(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})), 0, 1)
		}
	})
}
