package flight

import (
	"sync"
	"time"
)

// A client that stalls in the middle of a message must not occupy much memory. Beyond
// Held bytes each, all incomplete messages share a small amount of memory. When it is
// used up, the message that has stalled longest is dropped. Messages that keep arriving
// complete so quickly that they rarely compete.
const (
	Held = 8 << 10 // bytes of each message that do not count here

	minSlow  = 2 << 20
	maxPause = 250 * time.Millisecond // shorter pauses are normal
)

// slow accounts for the memory that incomplete messages share.
type slow struct {
	limit int

	mu       sync.Mutex // guards everything below, and the fields of Message that say so
	used     int
	messages map[*Message]struct{}
}

// take reserves n bytes for m. It reports whether there was room or room could be made by
// dropping another message.
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

// drop removes a message that is complete or has ended. Its Cut will not be called.
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

// Lost reports whether the message was dropped because it stalled while another needed
// room.
func (m *Message) Lost(b *Budget) bool {
	b.slow.mu.Lock()
	defer b.slow.mu.Unlock()
	return m.lost
}
