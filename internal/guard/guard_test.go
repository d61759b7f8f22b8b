package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/internal/limit"
	"inbox/internal/meter"
	"inbox/internal/problem"
	"inbox/memstore"
)

var (
	perAddress = limit.Rate{PerSecond: 1, Burst: 60}
	perInbox   = limit.Rate{PerSecond: 10. / 60, Burst: 10}
	refusals   = meter.NewRefusals(false)
)

// guarded returns a store with the default limits of the program.
func guarded() *Store {
	return New(memstore.New(inbox.Limits{
		TTL:     time.Hour,
		Guesses: inbox.Guesses{Every: time.Minute / 100, Burst: 100},
	}), Config{Address: perAddress, Inbox: perInbox, Refusals: refusals})
}

// address returns the address with the given number.
func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
}

func look(s inbox.Store, id, password string, from netip.Addr) error {
	pepper := inbox.NewPepper([inbox.PepperSize]byte{})
	p, _ := pepper.Authenticate(inbox.Credentials{ID: id, Password: password, Client: from})
	_, err := s.Look(context.Background(), p, inbox.Cursor{}, 1, nil)
	return err
}

// tried returns how many wrong passwords reach the store within d. Each address tries
// twice a second, with the ids in turn.
func tried(t *testing.T, s inbox.Store, d time.Duration, ids, addresses int) (n int) {
	t.Helper()
	turn := 0
	for begin := time.Now(); time.Since(begin) < d; time.Sleep(500 * time.Millisecond) {
		for a := range addresses {
			turn++
			err := look(s, fmt.Sprint("id ", turn%ids), fmt.Sprint("guess ", turn), address(a))
			switch {
			case errors.Is(err, inbox.ErrUnauthorized):
				n++
			case !errors.Is(err, inbox.ErrRateLimited):
				t.Fatal(err)
			}
		}
	}
	return n
}

const owner = 1 << 15 // number of the owner's address

func TestWrongPasswordsOfOneAddress(t *testing.T) {
	for _, c := range []struct {
		ids, burst, perMinute int
	}{{ids: 100, burst: 60, perMinute: 60}, {ids: 1, burst: 10, perMinute: 10}} {
		synctest.Test(t, func(t *testing.T) {
			s := guarded()
			for id := range c.ids {
				if err := look(s, fmt.Sprint("id ", id), "right", address(owner)); err != nil {
					t.Fatal(err)
				}
			}
			first := tried(t, s, time.Minute, c.ids, 1)
			then := tried(t, s, 10*time.Minute, c.ids, 1)
			t.Logf("%d ids: %d in the first minute, %.1f a minute then", c.ids, first, float64(then)/10)
			if first > c.burst+c.perMinute || then > 10*c.perMinute {
				t.Errorf("want at most %d, and then %d a minute", c.burst+c.perMinute, c.perMinute)
			}
			if then < 9*c.perMinute {
				t.Errorf("want about %d a minute", c.perMinute)
			}
		})
	}
}

func TestThousandAddressesAgainstOneInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, all := guarded(), guarded()
		stop, refused := make(chan struct{}), 0
		for _, s := range []inbox.Store{one, all} {
			if err := look(s, "id 0", "right", address(owner)); err != nil {
				t.Fatal(err)
			}
		}
		var owners sync.WaitGroup
		owners.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(77 * time.Millisecond):
					if look(all, "id 0", "right", address(owner)) != nil {
						refused++
					}
				}
			}
		})
		// The first minute includes the bursts, of 10 and of 100.
		burstOfOne, ofOne := tried(t, one, time.Minute, 1, 1), tried(t, one, 2*time.Minute, 1, 1)
		burstOfAll, ofAll := tried(t, all, time.Minute, 1, 1000), tried(t, all, 2*time.Minute, 1, 1000)
		close(stop)
		owners.Wait()
		t.Logf("in the first minute %d and %d; in 2 minutes then one address tried %d, 1,000 addresses %d (%.1f x); the owner was refused %d times", burstOfOne, burstOfAll, ofOne, ofAll, float64(ofAll)/float64(ofOne), refused)
		if ofAll > 10*ofOne {
			t.Errorf("want at most 10 x")
		}
		if refused > 0 {
			t.Errorf("want the owner never refused")
		}
	})
}

// A refusal does not depend on the password.
func TestRefusalsRevealNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guarded()
		look(s, "alice", "right", address(owner))
		for range 10 {
			look(s, "alice", "wrong", address(0))
		}
		for _, password := range []string{"right", "wrong", "other"} {
			var p problem.Problem
			err := look(s, "alice", password, address(0))
			if !errors.As(err, &p) || p.Code != "rate-limited" || p.RetryAfter != 6*time.Second {
				t.Errorf("%s: %v, %v", password, err, p.RetryAfter)
			}
		}
		time.Sleep(6 * time.Second)
		if err := look(s, "alice", "right", address(0)); err != nil {
			t.Errorf("after waiting: %v", err)
		}
		if n := refusals.Count(meter.AddressPasswords); n == 0 {
			t.Error("no refusal was counted")
		}
	})
}

// Right passwords never count.
func TestRightPasswordsDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guarded()
		for i := range 5000 { // such as a school behind one address
			if err := look(s, fmt.Sprint("id ", i%500), "right", address(0)); err != nil {
				t.Fatal(err)
			}
		}
		look(s, "id 0", "wrong", address(0))
		for i := range 5000 {
			if err := look(s, fmt.Sprint("id ", i%500), "right", address(0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := look(s, "id 0", "wrong", address(0)); !errors.Is(err, inbox.ErrUnauthorized) {
			t.Fatal(err)
		}
	})
}

func TestIPv6NetworksCountAsOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guarded()
		look(s, "alice", "right", address(owner))
		wrong := func(a string) bool {
			return errors.Is(look(s, "alice", "wrong", netip.MustParseAddr(a)), inbox.ErrUnauthorized)
		}
		for i := range 10 {
			if !wrong(fmt.Sprintf("2001:db8::%x", i)) {
				t.Fatalf("attempt %d was refused", i)
			}
		}
		if wrong("2001:db8::ffff") {
			t.Error("another address of the same /64 was not refused")
		}
		if !wrong("2001:db8:0:1::1") {
			t.Error("another /64 was refused")
		}
	})
}

// slow is a store whose looks take time, so that many run concurrently.
type slow struct{ inbox.Store }

func (s slow) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, most int, w *inbox.Waker) (inbox.Batch, error) {
	time.Sleep(5 * time.Millisecond)
	return s.Store.Look(ctx, p, after, most, w)
}

// Trying concurrently gains at most one round.
func TestConcurrentWrongPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guarded()
		s.Store = slow{s.Store}
		for id := range 500 {
			look(s, fmt.Sprint("id ", id), "right", address(owner))
		}
		round := func() (n int) {
			var mu sync.Mutex
			var all sync.WaitGroup
			for i := range 500 {
				all.Go(func() {
					if errors.Is(look(s, fmt.Sprint("id ", i), "wrong", address(0)), inbox.ErrUnauthorized) {
						mu.Lock()
						defer mu.Unlock()
						n++
					}
				})
			}
			all.Wait()
			return n
		}
		for _, pause := range []time.Duration{time.Second, 2 * time.Minute} { // the second is longer than 60 wrong passwords count
			begin, n := time.Now(), round()
			for time.Since(begin) < 20*time.Minute {
				time.Sleep(pause)
				n += round()
			}
			if n > 500+20*60 {
				t.Errorf("%d wrong passwords in 20 minutes, want at most one a second after the first 500", n)
			}
			time.Sleep(time.Hour) // the bucket is full, and the inboxes have expired
			for id := range 500 {
				look(s, fmt.Sprint("id ", id), "right", address(owner))
			}
		}
	})
}

func TestNoLimits(t *testing.T) {
	s := New(memstore.New(inbox.Limits{}), Config{})
	look(s, "alice", "right", address(0))
	for range 1000 {
		if err := look(s, "alice", "wrong", address(0)); !errors.Is(err, inbox.ErrUnauthorized) {
			t.Fatal(err)
		}
	}
	if n := s.TableBytes(); n != 0 {
		t.Errorf("the tables take %d bytes", n)
	}
}

func TestTableBytes(t *testing.T) {
	if n := guarded().TableBytes(); n > 200<<10 {
		t.Errorf("the tables take %d bytes, want at most 200 KiB", n)
	}
}
