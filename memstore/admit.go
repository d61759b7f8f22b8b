package memstore

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"inbox"
)

// guessUnit is what an entry counts the time of its wrong secrets in, so that 4 bytes
// are enough for two years. The time of one is rounded up to it.
const guessUnit = 1 << 24 // nanoseconds, 17 ms

// inUnits returns g as entries count.
func inUnits(g inbox.Guesses) inbox.Guesses {
	return inbox.Guesses{Every: (g.Every + guessUnit - 1) / guessUnit, Burst: g.Burst}
}

// admitLocked lets a peer in whose secret is right. What the answer depends on before
// the secret is compared says nothing of it. life is that of a cursor which the peer has
// named, or 0.
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

// refilled is when the bucket of wrong secrets is full. A time further ahead than that can
// be is long ago: the number has come round since.
func (in *entry) refilled(now time.Duration, g inbox.Guesses) time.Duration {
	ahead := time.Duration(int32(in.guesses - uint32(now)))
	if in.guesses == 0 || ahead > g.Every*time.Duration(g.Burst) {
		return now
	}
	return now + ahead
}

// addresses are those that have shown an inbox's secret, the latest first, as tags. Two
// share a tag by chance, one in four thousand millions: such an address is only not
// slowed down by others.
type addresses [inbox.KnownAddresses]uint32

func (a *addresses) has(tag uint32) bool { return slices.Contains(a[:], tag) }

func (a *addresses) add(tag uint32) {
	copy(a[1:], a[:])
	a[0] = tag
}

// tag names an address. It is never 0.
func (s *Store) tag(client netip.Addr) uint32 {
	return max(1, uint32(maphash.Comparable(s.seed, client)))
}
