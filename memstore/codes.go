package memstore

import (
	"context"
	"strings"
	"sync"
	"time"

	"inbox"
)

// maxCodes bounds the codes in a store. Beyond it, a new code replaces the oldest.
const maxCodes = 16 << 10

// codeCost is the memory of a code: an entry of a map that may be half empty, and its key in
// the queue.
const codeCost = 320

// codes contains the codes that can be redeemed.
type codes struct {
	sync.Mutex
	byCode map[string]code
	oldest []string // in the order of their creation; some may have been redeemed
}

type code struct {
	inbox.Invitation
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
	invitation := code{inbox.Invitation{Peer: id, Room: room}, now + inbox.CodeTTL}
	if !s.reserveMemory(invitation.cost()) {
		return "", inbox.ErrServerFull
	}
	c := &s.codes
	c.Lock()
	defer c.Unlock()
	s.removeCodesLocked(now, maxCodes-1)
	if c.byCode == nil {
		c.byCode = make(map[string]code)
	}
	for {
		text := inbox.NewCode()
		if _, taken := c.byCode[text]; !taken {
			c.byCode[text] = invitation
			c.oldest = append(c.oldest, text)
			return text, nil
		}
	}
}

// Redeem implements [inbox.Store].
func (s *Store) Redeem(_ context.Context, text string) (inbox.Invitation, error) {
	s.codes.Lock()
	defer s.codes.Unlock()
	found, ok := s.codes.byCode[text]
	s.removeCodeLocked(text)
	if !ok || found.expires <= s.now() {
		return inbox.Invitation{}, inbox.ErrNoCode
	}
	return found.Invitation, nil
}

func (s *Store) removeExpiredCodes() {
	s.codes.Lock()
	defer s.codes.Unlock()
	s.removeCodesLocked(s.now(), maxCodes)
}

// removeCodesLocked removes the oldest codes that were redeemed, have expired, or exceed most
// in number.
func (s *Store) removeCodesLocked(now time.Duration, most int) {
	c, n := &s.codes, 0
	for n < len(c.oldest) {
		if old, there := c.byCode[c.oldest[n]]; there && old.expires > now && len(c.oldest)-n <= most {
			break
		}
		s.removeCodeLocked(c.oldest[n])
		n++
	}
	c.oldest = c.oldest[n:]
	if len(c.oldest) == 0 {
		c.oldest, c.byCode = nil, nil // neither shrinks by itself
	}
}

func (s *Store) removeCodeLocked(text string) {
	if old, there := s.codes.byCode[text]; there {
		delete(s.codes.byCode, text)
		s.memory.Add(-old.cost())
	}
}
