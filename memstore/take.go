package memstore

import (
	"context"

	"inbox"
)

// taking is the state of a pop between Take and the call of end.
type taking struct {
	upTo   uint64
	missed bool          // a look found nothing because of this pop
	ended  chan struct{} // nil until a look waits for it
}

// Take implements [inbox.Store].
func (s *Store) Take(_ context.Context, p inbox.Peer, b inbox.Batch, w *inbox.Waker) (end func(delivered bool)) {
	sh := s.shard(p.ID)
	sh.Lock()
	defer sh.Unlock()
	in := sh.findLocked(p.ID, s.now())
	switch {
	case in == nil, in.life != b.Cursor.Life, in.taken != nil, w != nil && w.Err() != nil,
		b.Start().Seq+1 != in.first(), b.Cursor.Seq > in.last: // another pop has removed some of the messages
		return nil
	}
	t := &taking{upTo: b.Cursor.Seq}
	in.taken = t
	return func(delivered bool) { s.endTaking(sh, in, t, delivered) }
}

func (s *Store) endTaking(sh *shard, in *entry, t *taking, delivered bool) {
	sh.Lock()
	now := s.now()
	if sh.findLocked(in.id, now) != in || in.taken != t { // the inbox is gone
		sh.Unlock()
		return
	}
	in.endTaking()
	if delivered {
		sh.acknowledgeLocked(in, inbox.Cursor{Life: in.life, Seq: t.upTo})
		sh.touchLocked(in, now)
	}
	waker := in.waker
	sh.Unlock()
	if waker != nil && t.missed {
		waker.Wake()
	}
}

// hides reports whether a pop in progress hides the oldest messages.
func (in *entry) hides() bool { return in.taken != nil && in.taken.upTo >= in.first() }

// endTaking makes the messages visible to looks again.
func (in *entry) endTaking() {
	if in.taken != nil && in.taken.ended != nil {
		close(in.taken.ended)
	}
	in.taken = nil
}

// miss records that a look found nothing because of the pop. It returns a channel that is
// closed when the pop ends.
func (t *taking) miss() <-chan struct{} {
	t.missed = true
	if t.ended == nil {
		t.ended = make(chan struct{})
	}
	return t.ended
}

// held returns the number of messages that count against the limits of the inbox, and the
// size of their bodies. Messages that a pop hides do not count, because its client may
// have read them already. Neither do events.
func (in *entry) held() (messages, bytes int) {
	if in == nil {
		return 0, 0
	}
	messages, bytes = len(in.messages), in.bytes
	if in.rooms != nil {
		messages, bytes = messages-in.rooms.events, bytes-in.rooms.bytes
	}
	if in.hides() {
		for _, m := range in.messages[:in.taken.upTo-in.first()+1] {
			if !m.FromServer() {
				messages, bytes = messages-1, bytes-len(m.Body)
			}
		}
	}
	return messages, bytes
}
