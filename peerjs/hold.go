package peerjs

import (
	"net/netip"
	"slices"
	"time"
)

// How long a message waits for a peer who is not there, and how much of that one
// sender may have.
const (
	holdFor    = 5 * time.Second
	retryEvery = 250 * time.Millisecond // whether it is there by now
	retryFull  = 20 * time.Millisecond  // or has read what filled its inbox

	maxHeld       = 1000    // messages
	maxHeldBytes  = 1 << 20 // of them, and of their recipients' ids, which can be as long as a frame
	maxRecipients = 128

	// heldCost is what a held message takes beside its bytes: its place in a slice that
	// may be half empty, and its recipient's.
	heldCost = 256
)

// hold is what one sender has said to peers who are not there, or whose inboxes
// are full. It is kept where the sender's socket is, and ends with it: so it needs
// nothing of a store, and nobody can fill the inbox of a stranger who never came.
type hold struct {
	client     netip.Addr // of the sender
	recipients []*absent
	messages   int
	bytes      int
}

// absent is a peer who is not there, or an address that names none.
type absent struct {
	address
	messages []heldMessage // oldest first
}

type heldMessage struct {
	body  []byte
	since time.Time
	told  bool // the sender knows that it may not be read
}

// tell notes that the sender is told about all that is held for a so far. It
// reports whether that is news.
func (a *absent) tell() (news bool) {
	for i := range a.messages {
		news = news || !a.messages[i].told
		a.messages[i].told = true
	}
	return news
}

// find returns who has that address, or nil.
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

// add holds a message, if there is room, behind others to the same peer.
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

// heldSize is what a held message counts for. The allocator rounds up: by an eighth, and
// to pages beyond 32 KiB.
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

// drop forgets the oldest message to a.
func (h *Handler) drop(o *hold, a *absent) {
	size := heldSize(a.address, a.messages[0].body)
	a.messages[0] = heldMessage{}
	a.messages = a.messages[1:]
	o.messages--
	o.bytes -= size
	h.held.Add(int64(-size))
	h.Clients.Release(o.client, size)
}

// settle forgets those for whom nothing is held any more.
func (o *hold) settle() {
	o.recipients = slices.DeleteFunc(o.recipients, func(a *absent) bool { return len(a.messages) == 0 })
}

// release forgets everything.
func (h *Handler) release(o *hold) {
	if o != nil {
		h.held.Add(int64(-o.bytes))
		h.Clients.Release(o.client, o.bytes)
		*o = hold{}
	}
}
