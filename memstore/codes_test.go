package memstore_test

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/memstore"
)

const maxCodes = 16 << 10

// at returns a peer whose requests come from an address.
func at(id string, client netip.Addr) inbox.Peer {
	p := peer(id)
	p.Client = &client
	return p
}

// four returns the nth IPv4 address of a test.
func four(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// six returns the first address of the nth IPv6 /64 of a /48.
func six(wide, n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(wide >> 8), byte(wide), byte(n >> 8), byte(n)})
}

func mustInvite(t *testing.T, s *memstore.Store, p inbox.Peer, room string) string {
	t.Helper()
	code, err := s.Invite(t.Context(), p, room)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func wantRedeemed(t *testing.T, s *memstore.Store, code string, want inbox.Invitation) {
	t.Helper()
	if i, err := s.Redeem(t.Context(), code); err != nil || i != want {
		t.Errorf("the code led to %+v, %v, want %+v", i, err, want)
	}
}

// inviteAll creates codes at all addresses in turn, until none of them can create more. It
// returns how many it has created.
func inviteAll(t *testing.T, s *memstore.Store, clients []netip.Addr) (created int) {
	t.Helper()
	for more := true; more; {
		more = false
		for _, client := range clients {
			switch _, err := s.Invite(t.Context(), at("mallory", client), ""); {
			case err == nil:
				created, more = created+1, true
			case !errors.Is(err, inbox.ErrTooManyCodes) && !errors.Is(err, inbox.ErrServerFull):
				t.Fatal(err)
			}
		}
	}
	return created
}

// Codes are bounded, count against the memory, and give it back.
func TestCodesGiveTheirMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, inbox.Limits{TTL: ttl})
		first := mustInvite(t, s, peer("alice"), "standup")
		for range maxCodes - 1 {
			mustInvite(t, s, peer("alice"), "standup")
		}
		if _, err := s.Invite(t.Context(), peer("alice"), ""); !errors.Is(err, inbox.ErrServerFull) {
			t.Errorf("one code too many: %v", err)
		}
		if _, memory := s.Usage(); memory < maxCodes*300 || memory > maxCodes*700 {
			t.Errorf("%d codes count for %d bytes", maxCodes, memory)
		}
		wantRedeemed(t, s, first, inbox.Invitation{Peer: "alice", Room: "standup"})
		mustInvite(t, s, peer("alice"), "") // takes the place of the first
		time.Sleep(inbox.CodeTTL + ttl + time.Second)
		wantUsage(t, s, 0, 0)

		full := run(t, inbox.Limits{TTL: ttl, Memory: 10_000})
		for {
			_, err := full.Invite(t.Context(), peer("alice"), "")
			if errors.Is(err, inbox.ErrServerFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// An attacker with a thousand addresses cannot end the codes of others, and cannot keep
// others from creating codes.
func TestAThousandAddressesLeaveRoomForCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, inbox.Limits{TTL: ttl})
		honest := at("alice", four(1))
		early := mustInvite(t, s, honest, "standup")
		var attackers []netip.Addr
		for i := range 1000 {
			attackers = append(attackers, four(1000+i))
		}
		created := inviteAll(t, s, attackers)
		if free := maxCodes - created; free < 1000 || created < 8000 {
			t.Errorf("the attacker has created %d codes", created)
		}
		// Eight people at one address, and 500 others, still get codes.
		for range 8 {
			mustInvite(t, s, honest, "")
		}
		for i := range 500 {
			mustInvite(t, s, at("bob", six(i, 0)), "")
		}
		wantRedeemed(t, s, early, inbox.Invitation{Peer: "alice", Room: "standup"})
		time.Sleep(inbox.CodeTTL + ttl + time.Second)
		wantUsage(t, s, 0, 0)
	})
}

func TestAnAddressHasFewCodes(t *testing.T) {
	for name, c := range map[string]struct {
		clients []netip.Addr
		most    int
	}{
		"an IPv4 address": {[]netip.Addr{four(1)}, 128},
		"an IPv6 /64":     {[]netip.Addr{six(1, 0)}, 128},
		"an IPv6 /48": {func() (all []netip.Addr) {
			for i := range 1000 {
				all = append(all, six(1, i))
			}
			return all
		}(), 16 * 128},
	} {
		t.Run(name, func(t *testing.T) {
			s := memstore.New(inbox.Limits{})
			// The share shrinks a little with each code.
			if n := inviteAll(t, s, c.clients); n > c.most || n < c.most*7/8 {
				t.Errorf("it has created %d codes, want about %d", n, c.most)
			}
			code := mustInvite(t, s, at("alice", four(2)), "")
			wantRedeemed(t, s, code, inbox.Invitation{Peer: "alice"})
		})
	}
}

// The memory that codes take is what they count for, at most.
func TestCodesTakeWhatTheyCountFor(t *testing.T) {
	s := memstore.New(inbox.Limits{})
	before := heap()
	for i := range maxCodes {
		mustInvite(t, s, at("alice", six(i, i)), "")
	}
	_, counted := s.Usage()
	if took := heap() - before; took > counted || took < counted/3 {
		t.Errorf("%d codes took %d bytes and count for %d", maxCodes, took, counted)
	}
	runtime.KeepAlive(s)
}

// A code that is used makes room for another one.
func TestUsedCodesDoNotCount(t *testing.T) {
	s := memstore.New(inbox.Limits{})
	for range 1000 {
		wantRedeemed(t, s, mustInvite(t, s, at("alice", four(1)), ""), inbox.Invitation{Peer: "alice"})
	}
}

// Even if all places are taken, codes that have been read out keep working.
func TestAFullStoreRefusesNewCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, inbox.Limits{TTL: ttl})
		early := mustInvite(t, s, at("alice", four(1)), "")
		var attackers []netip.Addr
		for i := range maxCodes {
			attackers = append(attackers, four(1000+i))
		}
		if created := inviteAll(t, s, attackers); created != maxCodes-1 {
			t.Errorf("the attacker has created %d codes", created)
		}
		if _, err := s.Invite(t.Context(), at("bob", four(2)), ""); !errors.Is(err, inbox.ErrServerFull) {
			t.Errorf("a code in a full store: %v", err)
		}
		wantRedeemed(t, s, early, inbox.Invitation{Peer: "alice"})
		mustInvite(t, s, at("bob", four(2)), "")
		time.Sleep(inbox.CodeTTL)
		mustInvite(t, s, at("bob", four(2)), "")
	})
}

func TestSnapshotKeepsCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := inbox.Limits{TTL: ttl}
		s := memstore.New(limits)
		expired := mustInvite(t, s, peer("alice"), "")
		time.Sleep(inbox.CodeTTL / 2)
		used := mustInvite(t, s, peer("alice"), "")
		wantRedeemed(t, s, used, inbox.Invitation{Peer: "alice"})
		early := mustInvite(t, s, at("alice", four(1)), "standup")
		time.Sleep(time.Minute)
		late := mustInvite(t, s, peer("bob"), "")
		path := save(t, s)
		time.Sleep(inbox.CodeTTL/2 - time.Minute) // the process is down

		s = memstore.New(limits)
		if _, err := s.Load(path); err != nil {
			t.Fatal(err)
		}
		for _, code := range []string{expired, used} {
			if _, err := s.Redeem(t.Context(), code); !errors.Is(err, inbox.ErrNoCode) {
				t.Errorf("a code that had expired or was used: %v", err)
			}
		}
		wantRedeemed(t, s, early, inbox.Invitation{Peer: "alice", Room: "standup"})
		another := mustInvite(t, s, peer("carol"), "")
		time.Sleep(inbox.CodeTTL/2 + time.Minute - time.Nanosecond)
		second := load(t, save(t, s), limits)
		wantRedeemed(t, second, late, inbox.Invitation{Peer: "bob"})
		time.Sleep(time.Nanosecond)
		if _, err := s.Redeem(t.Context(), late); !errors.Is(err, inbox.ErrNoCode) {
			t.Errorf("a code after ten minutes: %v", err)
		}
		wantRedeemed(t, s, another, inbox.Invitation{Peer: "carol"})
	})
}

// A full table of codes fits into a snapshot, and into the same limits again.
func TestSnapshotOfManyCodes(t *testing.T) {
	s := memstore.New(inbox.Limits{})
	room := fmt.Sprintf("%0512d", 7)
	var codes []string
	for range maxCodes {
		codes = append(codes, mustInvite(t, s, peer("alice"), room))
	}
	path := save(t, s)
	inboxes, memory := s.Usage()
	restored := load(t, path, inbox.Limits{Memory: memory})
	wantUsage(t, restored, inboxes, memory)
	if _, err := memstore.New(inbox.Limits{Memory: memory - 1}).Load(path); err == nil || errors.Is(err, memstore.ErrDamaged) {
		t.Errorf("load with too little memory: %v", err)
	}
	for _, code := range codes {
		wantRedeemed(t, restored, code, inbox.Invitation{Peer: "alice", Room: room})
	}
}

type (
	codesHeader struct {
		Time   time.Time
		Pepper [inbox.PepperSize]byte
		Codes  []codeRecord
	}
	codeRecord struct {
		Code, Peer, Room string
		TTL              time.Duration
	}
)

func TestForgedCodesInSnapshots(t *testing.T) {
	many := make([]codeRecord, maxCodes+1)
	for name, c := range map[string]struct {
		codes []codeRecord
		ok    bool
	}{
		"no codes":                    {nil, true},
		"two codes":                   {[]codeRecord{{"KXTRBM", "alice", "", time.Minute}, {"KXTRBN", "p:k:\x01", "standup", time.Second}}, true},
		"a code that lives forever":   {[]codeRecord{{"KXTRBM", "alice", "", 1<<63 - 1}}, true},
		"a code that has expired":     {[]codeRecord{{"KXTRBM", "alice", "", -1 << 63}}, true},
		"two equal codes":             {[]codeRecord{{"KXTRBM", "alice", "", time.Minute}, {"KXTRBM", "bob", "", time.Minute}}, false},
		"a code without a peer":       {[]codeRecord{{"KXTRBM", "", "standup", time.Minute}}, false},
		"a code in lower case":        {[]codeRecord{{"kxtrbm", "alice", "", time.Minute}}, false},
		"a code of seven letters":     {[]codeRecord{{"KXTRBMA", "alice", "", time.Minute}}, false},
		"more codes than a store has": {many, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b bytes.Buffer
				b.WriteString("inbox snapshot 1\n")
				if err := gob.NewEncoder(&b).Encode(codesHeader{Time: time.Now(), Codes: c.codes}); err != nil {
					t.Fatal(err)
				}
				s, err := loadContent(t, filepath.Join(t.TempDir(), "snapshot"), b.Bytes())
				if (err == nil) != c.ok || err != nil && !errors.Is(err, memstore.ErrDamaged) {
					t.Fatalf("load: %v", err)
				}
				if err == nil {
					time.Sleep(inbox.CodeTTL)
					if _, err := s.Redeem(t.Context(), "KXTRBM"); !errors.Is(err, inbox.ErrNoCode) {
						t.Errorf("the code after ten minutes: %v", err)
					}
				}
			})
		})
	}
}

// A snapshot of a server that did not save codes is valid.
func TestSnapshotWithoutCodes(t *testing.T) {
	content := forge(t, header{Time: time.Now()}, record{ID: "alice", Life: 7, TTL: time.Minute})
	s, err := loadContent(t, filepath.Join(t.TempDir(), "snapshot"), content)
	if err != nil {
		t.Fatal(err)
	}
	wantRedeemed(t, s, mustInvite(t, s, at("bob", four(1)), ""), inbox.Invitation{Peer: "bob"})
}
