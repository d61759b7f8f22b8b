package memstore_test

import (
	"errors"
	"net/netip"
	"testing"

	"inbox"
	"inbox/internal/limit"
	"inbox/memstore"
)

// The inboxes of one address are bounded in total, even if others fill them. Everything counted
// is returned in the end.
func TestQuotaOfBytes(t *testing.T) {
	const most = 100 << 10
	clients := limit.NewClients(limit.Config{Kept: most})
	store := memstore.New(inbox.Limits{Quota: clients})
	pepper := inbox.NewPepper([inbox.PepperSize]byte{1})
	peer := func(id, address string) inbox.Peer {
		client := netip.MustParseAddr(address)
		return inbox.Peer{ID: id, Secret: pepper.Secret(id, "p"), Client: &client}
	}
	ctx := t.Context()
	open := func(id, address string) error {
		_, err := store.Acknowledge(ctx, peer(id, address), inbox.Cursor{}, nil)
		return err
	}
	fill := func(to string) (sent int) {
		for ; ; sent++ {
			switch _, err := store.Send(ctx, peer("sender", "192.0.2.9"), to, inbox.Draft{Body: make([]byte, 1<<10)}); {
			case errors.Is(err, inbox.ErrFull):
				return sent
			case err != nil:
				t.Fatal(err)
			}
		}
	}
	for round := range 3 {
		if err := errors.Join(open("alice", "192.0.2.1"), open("bob", "192.0.2.1"), open("carol", "2001:db8::1"), open("dave", "::1")); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"alice", "carol", "dave"} {
			if n := fill(id); n < 50 || n >= 100 {
				t.Errorf("round %d: the inbox of %s took %d KiB, want nearly 100", round, id, n)
			}
		}
		if n := fill("bob"); n > 0 {
			t.Errorf("round %d: another inbox of the same address took %d KiB more", round, n)
		}
		opened := 0
		for ; opened < 1000; opened++ {
			if err := open(string(rune('a'+opened)), "192.0.2.1"); errors.Is(err, inbox.ErrRateLimited) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if opened > 5 {
			t.Errorf("round %d: an address at its bound opened %d more inboxes", round, opened)
		}
		for i := range opened {
			id := string(rune('a' + i))
			store.Close(ctx, peer(id, "192.0.2.1"), 0)
		}
		if round == 1 { // acknowledging makes room
			all, err := store.Look(ctx, peer("alice", "192.0.2.1"), inbox.Cursor{}, 1<<20, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Acknowledge(ctx, peer("alice", "192.0.2.1"), all.Cursor, nil); err != nil {
				t.Fatal(err)
			}
			if n := fill("bob"); n < 50 {
				t.Errorf("after an acknowledgement there was room for %d KiB", n)
			}
		}
		for _, p := range []inbox.Peer{peer("alice", "192.0.2.1"), peer("bob", "192.0.2.1"), peer("carol", "2001:db8::1"), peer("dave", "::1")} {
			if _, err := store.Close(ctx, p, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}
