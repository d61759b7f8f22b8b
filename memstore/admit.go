package memstore

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"inbox"
)

// guessUnit is the unit in which an entry stores the time of its wrong secrets: coarse
// enough for 4 bytes to cover two years. Guesses.Every is rounded up to it.
const guessUnit = 1 << 24 // nanoseconds, 17 ms

// inUnits converts g.Every to units of guessUnit.
func inUnits(g inbox.Guesses) inbox.Guesses {
	return inbox.Guesses{Every: (g.Every + guessUnit - 1) / guessUnit, Burst: g.Burst}
}

// admitLocked checks a peer's secret. Beyond the limit, the answer is the same for right and
// wrong secrets. life is the life of the cursor that the peer presented, or 0.
//
// Errors: ErrUnauthorized, ErrRateLimited.
func (s *Store) admitLocked(in *entry, p inbox.Peer, life uint64, now time.Duration) error {
	right := in.secret.Equal(p.Secret)
	if p.Client == nil || p.Admitted {
		if !right {
			return inbox.ErrUnauthorized
		}
		return nil
	}
	tag := s.tag(*p.Client)
	now /= guessUnit
	full, ok := s.guesses.Refilled(in.refilled(now, s.guesses), now)
	switch known := in.known.has(tag); {
	case !known && life != in.life && !ok:
		return inbox.ErrRateLimited
	case !right:
		in.guesses = uint32(full)
		return inbox.ErrUnauthorized
	case !known:
		in.known.add(tag)
	}
	return nil
}

// refilled returns when the bucket of wrong secrets will be full. The stored time wraps
// around: a value further ahead than the bucket allows lies in the past.
func (in *entry) refilled(now time.Duration, g inbox.Guesses) time.Duration {
	ahead := time.Duration(int32(in.guesses - uint32(now)))
	if in.guesses == 0 || ahead > g.Every*time.Duration(g.Burst) {
		return now
	}
	return now + ahead
}

// addresses contains hashes of the addresses that presented the inbox's secret, latest
// first. Two addresses collide with a probability of one in four billion; a collision
// only exempts an address from the limit on guesses.
type addresses [inbox.KnownAddresses]uint32

func (a *addresses) has(tag uint32) bool { return slices.Contains(a[:], tag) }

func (a *addresses) add(tag uint32) {
	copy(a[1:], a[:])
	a[0] = tag
}

// tag returns the hash of an address. It is never 0.
func (s *Store) tag(client netip.Addr) uint32 {
	return max(1, uint32(maphash.Comparable(s.seed, client)))
}
