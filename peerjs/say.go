package peerjs

import (
	"context"
	"errors"
	"time"

	"inbox"
	"inbox/internal/socket"
)

// Message does what a client says. What makes no sense is ignored, as clients
// expect.
func (p *peer) Message(s *socket.Socket, now time.Time, text []byte) error {
	var f said
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

// send puts a message into an inbox, or holds it.
func (p *peer) send(s *socket.Socket, now time.Time, f *said) error {
	if a := p.hold.find(f.dst); a != nil && !isHeld(f.kind) {
		_ = p.deliver(a) // before what follows it
		p.hold.settle()
	}
	body := f.body()
	if !f.dst.json && p.hold.find(f.dst) == nil {
		err := p.pass(f.dst.text, body, true)
		p.h.count(err, p.remote)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, inbox.ErrUnauthorized):
			return refusal(idIsTaken)
		}
	}
	if !isHeld(f.kind) {
		return nil // for somebody who is not there
	}
	if f.dst.json {
		body = nil // nobody will read it
	}
	if p.hold == nil {
		p.hold = &hold{client: p.remote}
		s.LookAgain(now.Add(retryFull)) // from then on, each look says when the next is
	}
	a, ok := p.h.add(p.hold, f.dst, body, now)
	switch {
	case ok:
		return nil
	case a == nil || a.tell():
		return p.expired(s, f.dst)
	}
	return nil // it knows already that not everything is read
}

// pass sends a message of the client, which may send only so many in all, and to peers
// that are not there. It counts those only the first time. What is refused waits like a
// message to a peer who is not there.
func (p *peer) pass(to string, body []byte, first bool) error {
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

// put sends, and logs what the store could not do.
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

// deliver sends what is held for a, in order, until that fails.
func (p *peer) deliver(a *absent) error {
	for len(a.messages) > 0 && !a.json {
		if err := p.pass(a.text, a.messages[0].body, false); err != nil {
			return err
		}
		p.h.drop(p.hold, a)
	}
	return nil
}

// retry sends what is held, and tells of what was held for too long. It returns
// after which time it is to be called again, or 0.
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
			if !a.messages[0].told && a.tell() && p.expired(s, a.address) != nil {
				return 0 // it is gone, which the end of this run finds too
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

// expired tells the client that a peer has not read something.
func (p *peer) expired(s *socket.Socket, dst address) error {
	return s.Send(func(to []byte) []byte { return appendFrame(to, expireBody, dst, p.id()) })
}
