package flight

import (
	"sync"
	"time"
)

// A client that stops in the middle of a message must not have the server hold much for
// it. Beyond Held bytes, the parts of all messages that have not come whole share little
// memory; when it is used up, the message that has paused longest is given up. Messages
// that keep coming take turns so fast that they rarely meet.
const (
	Held = 8 << 10 // bytes of a message that do not count here

	minSlow  = 2 << 20
	maxPause = 250 * time.Millisecond // a shorter one is no reason to give a message up
)

// slow is the memory that messages share which come in parts.
type slow struct {
	limit int

	mu       sync.Mutex // guards what follows, and the fields of a Message that say so
	used     int
	messages map[*Message]struct{}
}

// take reserves n bytes for m, which has just come to need them. It reports whether there
// was room, or another message could be given up for it.
func (s *slow) take(m *Message, n int) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.lost {
		return false
	}
	for s.used+n > s.limit {
		var oldest *Message
		for other := range s.messages {
			if other != m && now.Sub(other.moved) > maxPause && (oldest == nil || other.moved.Before(oldest.moved)) {
				oldest = other
			}
		}
		if oldest == nil {
			return false
		}
		s.dropLocked(oldest)
		oldest.lost = true
		if oldest.Cut != nil {
			oldest.Cut()
		}
	}
	if s.messages == nil {
		s.messages = make(map[*Message]struct{})
	}
	s.messages[m] = struct{}{}
	s.used += n
	m.slow += n
	m.moved = now
	return true
}

// drop forgets a message, which is whole or has ended. Its Cut is not called any more.
func (s *slow) drop(m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(m)
}

func (s *slow) dropLocked(m *Message) {
	s.used -= m.slow
	m.slow = 0
	delete(s.messages, m)
}

// Lost reports whether the message was given up because it has paused, to make room for
// another.
func (m *Message) Lost(b *Budget) bool {
	b.slow.mu.Lock()
	defer b.slow.mu.Unlock()
	return m.lost
}
