package peerjs

import (
	"net/netip"
	"slices"
	"time"
)

// How long a message waits for an absent peer, and how much may wait for one sender.
const (
	holdFor    = 5 * time.Second
	retryEvery = 250 * time.Millisecond // how often to look whether the peer has come
	retryFull  = 20 * time.Millisecond  // the same if the peer's inbox was full

	maxHeld       = 1000    // messages
	maxHeldBytes  = 1 << 20 // bodies and recipients, whose ids can be as long as a frame
	maxRecipients = 128

	// heldCost is what a held message counts for in addition to its bytes: its slot in a
	// slice that may be half empty, and its recipient's.
	heldCost = 256
)

// hold has the messages of one sender to peers who are absent or whose inboxes are full.
// It ends with the sender's socket. So it needs no support from the store, and a sender
// cannot fill the inbox of a peer that never connects.
type hold struct {
	client     netip.Addr // of the sender
	recipients []*absent
	messages   int
	bytes      int
}

// absent is an absent peer, or an address that names no peer.
type absent struct {
	address
	messages []heldMessage // oldest first
}

type heldMessage struct {
	body  []byte
	since time.Time
	told  bool // the sender has received an EXPIRE that covers it
}

// markTold marks all messages held for a as covered by an EXPIRE. It reports whether any was
// not covered before.
func (a *absent) markTold() (news bool) {
	for i := range a.messages {
		news = news || !a.messages[i].told
		a.messages[i].told = true
	}
	return news
}

// find returns the absent peer with this address, or nil.
func (o *hold) find(to address) *absent {
	if o == nil {
		return nil
	}
	for _, a := range o.recipients {
		if a.address == to {
			return a
		}
	}
	return nil
}

// add holds a message behind earlier ones to the same peer. It reports whether there was
// room.
func (h *Handler) add(o *hold, to address, body []byte, now time.Time) (*absent, bool) {
	a := o.find(to)
	size := heldSize(to, body)
	switch {
	case a == nil && len(o.recipients) >= maxRecipients,
		o.messages >= maxHeld, o.bytes+size > maxHeldBytes:
		return a, false
	}
	if h.Clients.Hold(o.client, size) != nil {
		return a, false
	}
	if h.held.Add(int64(size)) > h.MaxHeld {
		h.held.Add(int64(-size))
		h.Clients.Release(o.client, size)
		return a, false
	}
	o.messages++
	o.bytes += size
	if a == nil {
		a = &absent{address: to}
		o.recipients = append(o.recipients, a)
	}
	a.messages = append(a.messages, heldMessage{body: body, since: now})
	return a, true
}

// heldSize returns what a held message counts for. The allocator rounds up: by up to an
// eighth, and to pages beyond 32 KiB.
func heldSize(to address, body []byte) int {
	size := heldCost
	for _, n := range [...]int{len(to.text), len(body)} {
		if size += n; n > 32<<10 {
			size += 8 << 10
		} else {
			size += n / 8
		}
	}
	return size
}

// drop removes the oldest message held for a.
func (h *Handler) drop(o *hold, a *absent) {
	size := heldSize(a.address, a.messages[0].body)
	a.messages[0] = heldMessage{}
	a.messages = a.messages[1:]
	o.messages--
	o.bytes -= size
	h.held.Add(int64(-size))
	h.Clients.Release(o.client, size)
}

// settle removes peers for whom nothing is held any more.
func (o *hold) settle() {
	o.recipients = slices.DeleteFunc(o.recipients, func(a *absent) bool { return len(a.messages) == 0 })
}

// release removes everything.
func (h *Handler) release(o *hold) {
	if o != nil {
		h.held.Add(int64(-o.bytes))
		h.Clients.Release(o.client, o.bytes)
		*o = hold{}
	}
}
