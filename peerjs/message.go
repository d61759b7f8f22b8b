package peerjs

import (
	"context"
	"errors"
	"time"

	"inbox"
	"inbox/internal/socket"
)

// Message handles one frame of the client. It ignores invalid ones, as clients expect.
func (p *peer) Message(s *socket.Socket, now time.Time, text []byte) error {
	var f clientFrame
	if p.left || p.refused != "" || p.told || !p.begun {
		return nil
	}
	if string(text) == string(heartbeat) || !f.parse(text) {
		return p.h.Clients.Frame(p.remote)
	}
	switch {
	case f.dst != address{} && f.kind != "":
		return p.send(s, now, &f)
	case f.kind == leave:
		p.leave()
	}
	return nil
}

// send stores a message in the recipient's inbox, or holds it.
func (p *peer) send(s *socket.Socket, now time.Time, f *clientFrame) error {
	if a := p.hold.find(f.dst); a != nil && !isHeld(f.kind) {
		_ = p.deliver(a) // preserve the order
		p.hold.settle()
	}
	body := f.body()
	if !f.dst.json && p.hold.find(f.dst) == nil {
		err := p.submit(f.dst.text, body, true)
		p.h.count(err, p.remote)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, inbox.ErrUnauthorized):
			return refusal(idIsTaken)
		}
	}
	if !isHeld(f.kind) {
		return nil // LEAVE and EXPIRE do not wait for absent peers
	}
	if f.dst.json {
		body = nil // it is never delivered
	}
	if p.hold == nil {
		p.hold = &hold{client: p.remote}
		s.LookAgain(now.Add(retryFull)) // later looks reschedule themselves
	}
	a, ok := p.h.add(p.hold, f.dst, body, now)
	switch {
	case ok:
		return nil
	case a == nil || a.markTold():
		return p.expired(s, f.dst)
	}
	return nil // an EXPIRE has covered an earlier message
}

// submit sends a message within the client's limits. An absent recipient counts only the
// first time. A message that is refused waits like one to an absent peer.
func (p *peer) submit(to string, body []byte, first bool) error {
	err := p.h.Clients.Request(p.remote)
	if err == nil {
		err = p.h.Clients.Recipient(p.remote)
	}
	if err != nil {
		p.h.count(err, p.remote)
		return err
	}
	if err = p.put(to, body); first && errors.Is(err, inbox.ErrNoInbox) {
		p.h.Clients.Missing(p.remote)
	}
	return err
}

// put sends a message and logs a failure of the store.
func (p *peer) put(to string, body []byte) error {
	_, err := p.h.Store.Send(context.Background(), p.inbox, p.h.prefix+to, inbox.Draft{Body: body})
	switch {
	case err == nil, errors.Is(err, inbox.ErrNoInbox), errors.Is(err, inbox.ErrFull),
		errors.Is(err, inbox.ErrServerFull), errors.Is(err, inbox.ErrUnauthorized):
	default:
		p.h.logStore(err)
	}
	return err
}

// deliver sends the messages held for a, in order, until one fails.
func (p *peer) deliver(a *absent) error {
	for len(a.messages) > 0 && !a.json {
		if err := p.submit(a.text, a.messages[0].body, false); err != nil {
			return err
		}
		p.h.drop(p.hold, a)
	}
	return nil
}

// retry delivers held messages and reports those that have expired. It returns when to
// call it again, or 0 for never.
func (p *peer) retry(s *socket.Socket, now time.Time) (after time.Duration) {
	if p.hold == nil {
		return 0
	}
	after = retryEvery
	for _, a := range p.hold.recipients {
		if errors.Is(p.deliver(a), inbox.ErrFull) {
			after = retryFull
		}
		for len(a.messages) > 0 && now.Sub(a.messages[0].since) >= p.h.holdFor {
			if !a.messages[0].told && a.markTold() && p.expired(s, a.address) != nil {
				return 0 // the socket is gone; the end of this run detects it
			}
			p.h.drop(p.hold, a)
		}
	}
	p.hold.settle()
	if len(p.hold.recipients) == 0 {
		p.hold = nil
		return 0
	}
	return after
}

// expired sends the client an EXPIRE for dst.
func (p *peer) expired(s *socket.Socket, dst address) error {
	return s.Send(func(to []byte) []byte { return appendFrame(to, expireBody, dst, p.id()) })
}
