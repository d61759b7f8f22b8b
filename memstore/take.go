package memstore

import (
	"context"

	"inbox"
)

// taking is a pop between Take and its end.
type taking struct {
	upTo   uint64
	missed bool          // a look came meanwhile
	ended  chan struct{} // nil until somebody waits for it
}

// Take implements [inbox.Store].
func (s *Store) Take(_ context.Context, p inbox.Peer, b inbox.Batch, w *inbox.Waker) (end func(delivered bool)) {
	sh := s.shard(p.ID)
	sh.Lock()
	defer sh.Unlock()
	in := sh.findLocked(p.ID, s.now())
	switch {
	case in == nil, in.life != b.Cursor.Life, in.taken != nil, w != nil && w.Err() != nil,
		b.Start().Seq+1 != in.first(), b.Cursor.Seq > in.last: // another pop has removed some
		return nil
	}
	t := &taking{upTo: b.Cursor.Seq}
	in.taken = t
	return func(delivered bool) { s.endTaking(sh, in, t, delivered) }
}

func (s *Store) endTaking(sh *shard, in *entry, t *taking, delivered bool) {
	sh.Lock()
	now := s.now()
	if sh.findLocked(in.id, now) != in || in.taken != t { // the inbox has ended
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

// hides reports whether a pop is about to remove the oldest messages.
func (in *entry) hides() bool { return in.taken != nil && in.taken.upTo >= in.first() }

// endTaking lets looks find the messages again.
func (in *entry) endTaking() {
	if in.taken != nil && in.taken.ended != nil {
		close(in.taken.ended)
	}
	in.taken = nil
}

// miss notes that a look found nothing because of a pop. It returns a channel that is
// closed when the pop has ended.
func (t *taking) miss() <-chan struct{} {
	t.missed = true
	if t.ended == nil {
		t.ended = make(chan struct{})
	}
	return t.ended
}

// held returns how many messages count against the bounds of the inbox, and the bytes of
// their bodies. The client of a pop may have read its messages already, so they count no
// longer.
func (in *entry) held() (messages, bytes int) {
	if in == nil {
		return 0, 0
	}
	messages, bytes = len(in.messages), in.bytes
	if in.hides() {
		for _, m := range in.messages[:in.taken.upTo-in.first()+1] {
			messages, bytes = messages-1, bytes-len(m.Body)
		}
	}
	return messages, bytes
}
