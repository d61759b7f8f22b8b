package memstore

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"inbox"
)

const (
	// maxCodes bounds the codes in a store. Beyond it, new codes are refused: a code may
	// have been read out already, so it is never removed before it expires.
	maxCodes = 16 << 10

	// codeShare divides the free places: a client can have as many codes as one of
	// codeShare parts. That is 128 in an empty store, and fewer the more codes there are,
	// so the clients that create the most run out of room first. A thousand clients that
	// create as many as they can leave 1,800 places to others.
	codeShare = 128

	// widerShare is how many times as many codes an IPv6 /48 can have as a /64.
	widerShare = 16

	// codeCost is the memory of a code: its entries in the list and in three maps that
	// may be half empty.
	codeCost = 448
)

// codes contains the codes that can be redeemed.
type codes struct {
	sync.Mutex // guards everything below, and each code
	byCode     map[string]*list.Element
	oldest     list.List            // of *code, in the order of their expiry
	owned      map[netip.Prefix]int // how many codes each network has created
}

type code struct {
	inbox.Invitation
	text    string
	owner   netip.Addr    // the client that created it; invalid if it is unknown
	expires time.Duration // on the store's clock
}

func (c *code) cost() int64 { return codeCost + sizeCost(len(c.Peer)) + sizeCost(len(c.Room)) }

// Invite implements [inbox.Store].
func (s *Store) Invite(_ context.Context, p inbox.Peer, room string) (string, error) {
	defer s.settle()
	text, err := s.invite(p, room)
	if err == inbox.ErrServerFull {
		s.removeExpired()
		text, err = s.invite(p, room)
	}
	return text, err
}

func (s *Store) invite(p inbox.Peer, room string) (string, error) {
	now := s.now()
	id, err := s.openSender(p, now)
	if err != nil {
		return "", err
	}
	room = strings.Clone(room) // it may be a part of a long URL
	made := &code{Invitation: inbox.Invitation{Peer: id, Room: room}, expires: now + inbox.CodeTTL}
	if p.Client != nil {
		made.owner = *p.Client
	}
	c := &s.codes
	c.Lock()
	defer c.Unlock()
	s.removeExpiredCodesLocked(now)
	if err := c.roomLocked(made.owner); err != nil {
		return "", err
	}
	for {
		made.text = inbox.NewCode()
		if _, taken := c.byCode[made.text]; !taken {
			break
		}
	}
	if !s.addCodeLocked(made) {
		return "", inbox.ErrServerFull
	}
	return made.text, nil
}

// roomLocked returns an error unless a client can have one more code.
func (c *codes) roomLocked(client netip.Addr) error {
	free := maxCodes - len(c.byCode)
	if free <= 0 {
		return inbox.ErrServerFull
	}
	most := max(1, free/codeShare)
	for i, network := range networks(client) {
		if i == 1 {
			most *= widerShare
		}
		if c.owned[network] >= most {
			return inbox.ErrTooManyCodes
		}
	}
	return nil
}

// networks returns what a client counts as: itself, which [inbox.Peer] gives as the first
// address of a /64 for IPv6, and then its IPv6 /48. An unknown client counts as nothing.
func networks(client netip.Addr) []netip.Prefix {
	if !client.IsValid() {
		return nil
	}
	self := netip.PrefixFrom(client, client.BitLen())
	if client.Is4() {
		return []netip.Prefix{self}
	}
	wide, _ := client.Prefix(48) // never fails for IPv6
	return []netip.Prefix{self, wide}
}

// addCodeLocked adds a code that expires after all others. It reports false if the memory
// limit has no room for it.
func (s *Store) addCodeLocked(made *code) bool {
	if !s.reserveMemory(made.cost()) {
		return false
	}
	c := &s.codes
	if c.byCode == nil {
		c.byCode, c.owned = make(map[string]*list.Element), make(map[netip.Prefix]int)
	}
	c.byCode[made.text] = c.oldest.PushBack(made)
	c.countLocked(made.owner, 1)
	return true
}

func (c *codes) countLocked(client netip.Addr, n int) {
	for _, network := range networks(client) {
		if c.owned[network] += n; c.owned[network] == 0 {
			delete(c.owned, network)
		}
	}
}

// Redeem implements [inbox.Store].
func (s *Store) Redeem(_ context.Context, text string) (inbox.Invitation, error) {
	s.codes.Lock()
	defer s.codes.Unlock()
	found := s.codes.byCode[text]
	if found == nil {
		return inbox.Invitation{}, inbox.ErrNoCode
	}
	was := s.removeCodeLocked(found)
	if was.expires <= s.now() {
		return inbox.Invitation{}, inbox.ErrNoCode
	}
	return was.Invitation, nil
}

func (s *Store) removeExpiredCodes() {
	s.codes.Lock()
	defer s.codes.Unlock()
	s.removeExpiredCodesLocked(s.now())
}

func (s *Store) removeExpiredCodesLocked(now time.Duration) {
	for e := s.codes.oldest.Front(); e != nil && e.Value.(*code).expires <= now; e = s.codes.oldest.Front() {
		s.removeCodeLocked(e)
	}
}

func (s *Store) removeCodeLocked(e *list.Element) *code {
	c, old := &s.codes, e.Value.(*code)
	c.oldest.Remove(e)
	delete(c.byCode, old.text)
	c.countLocked(old.owner, -1)
	if len(c.byCode) == 0 {
		c.byCode, c.owned = nil, nil // maps do not shrink by themselves
	}
	s.memory.Add(-old.cost())
	return old
}

// snapshotCode is a code in a snapshot. It lacks the client that created it: snapshots
// contain no addresses.
type snapshotCode struct {
	Code, Peer, Room string
	TTL              time.Duration // time left to live
}

// snapshot copies the codes that have not expired, in the order of expiry.
func (c *codes) snapshot(now time.Duration) (all []snapshotCode) {
	c.Lock()
	defer c.Unlock()
	for e := c.oldest.Front(); e != nil; e = e.Next() {
		if saved := e.Value.(*code); saved.expires > now {
			all = append(all, snapshotCode{saved.text, saved.Peer, saved.Room, saved.expires - now})
		}
	}
	return all
}

// restoreCodes adds the codes of a snapshot that was saved the given time ago.
func (s *Store) restoreCodes(all []snapshotCode, away time.Duration) error {
	if len(all) > maxCodes {
		return fmt.Errorf("%w: %d codes", ErrDamaged, len(all))
	}
	c, now := &s.codes, s.now()
	c.Lock()
	defer c.Unlock()
	slices.SortStableFunc(all, func(a, b snapshotCode) int { return cmp.Compare(a.TTL, b.TTL) })
	for _, saved := range all {
		if err := saved.check(); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if c.byCode[saved.Code] != nil {
			return fmt.Errorf("%w: two equal codes", ErrDamaged)
		}
		left := min(max(0, saved.TTL), inbox.CodeTTL) - away
		if left <= 0 {
			continue
		}
		to := inbox.Invitation{Peer: saved.Peer, Room: saved.Room}
		if !s.addCodeLocked(&code{Invitation: to, text: saved.Code, expires: now + left}) {
			return fmt.Errorf("the codes in the snapshot take more memory than the limit of %d bytes", s.limits.Memory)
		}
	}
	return nil
}

func (saved *snapshotCode) check() error {
	switch parsed, ok := inbox.ParseCode(saved.Code); {
	case !ok || parsed != saved.Code:
		return errors.New("a code that is not six letters")
	case saved.Peer == "":
		return errors.New("a code without a peer")
	}
	return nil
}
