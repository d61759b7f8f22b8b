package flight

import (
	"net/netip"
	"sync"
	"time"

	"inbox/internal/problem"
)

// Chunk is the unit in which a Message allocates memory, in bytes.
const Chunk = 8 << 10

// chunks are reused for later messages. New allocations for each message would
// double its memory use.
var chunks = sync.Pool{New: func() any { return new([Chunk]byte) }}

// A Message collects data that arrives in parts. It allocates memory as they arrive. The
// zero Message is empty. A Message is not safe for concurrent use.
type Message struct {
	// Cut, if not nil, is called when the message is Lost. It should interrupt the read of
	// the next part. It must not block or use the Message. Set it before the first part.
	Cut func()

	parts []part
	size  int
	taken int

	slow  int       // share of taken that counts as slow; guarded by slow.mu, like the next two
	moved time.Time // when the last part arrived
	lost  bool
}

// A part is a section of a message: the used portion of chunk, or a separate allocation.
type part struct {
	chunk *[Chunk]byte
	bytes []byte
}

// Len returns the number of bytes that have arrived.
func (m *Message) Len() int { return m.size }

// Room returns space for up to n more bytes from a client, which must always be the same
// one. The space may be shorter than n; call Room again for the rest. If the budget has
// no room, Room returns the problem to answer with. All memory of a Message counts
// against the budget.
func (m *Message) Room(client netip.Addr, n int, b *Budget) ([]byte, error) {
	if last := len(m.parts) - 1; last >= 0 && m.parts[last].chunk != nil {
		p := &m.parts[last]
		if at := len(p.bytes); at < Chunk && n <= Chunk {
			n = min(n, Chunk-at)
			p.bytes = p.chunk[:at+n]
			m.size += n
			return p.bytes[at:], nil
		}
	}
	if n <= Chunk {
		if m.size >= Held && !b.slow.take(m, Chunk) {
			return nil, problem.ServerFull
		}
		if err := m.take(client, Chunk, b); err != nil {
			return nil, err
		}
		c := chunks.Get().(*[Chunk]byte)
		m.parts = append(m.parts, part{c, c[:n]})
		m.size += n
		return c[:n], nil
	}
	// The rest of the message arrives in one piece. Copy the earlier parts in front of
	// it, so that Bytes need not copy anything.
	before := 0
	if len(m.parts) <= 2 {
		before = m.size
	}
	if err := m.take(client, before+n, b); err != nil {
		return nil, err
	}
	large := make([]byte, before+n)
	if before > 0 {
		m.copyTo(large)
		m.free()
	}
	m.parts = append(m.parts, part{bytes: large})
	m.size += n
	return large[before:], nil
}

func (m *Message) take(client netip.Addr, n int, b *Budget) error {
	err := b.Take(client, n)
	if err == nil {
		m.taken += n
	}
	return err
}

// Bytes returns the whole message in one slice, which stays valid after Release.
func (m *Message) Bytes() []byte {
	if len(m.parts) == 1 && m.parts[0].chunk == nil {
		return m.parts[0].bytes
	}
	whole := make([]byte, m.size)
	m.copyTo(whole)
	return whole
}

func (m *Message) copyTo(to []byte) {
	for _, p := range m.parts {
		to = to[copy(to, p.bytes):]
	}
}

func (m *Message) free() {
	for _, p := range m.parts {
		if p.chunk != nil {
			chunks.Put(p.chunk)
		}
	}
	m.parts = nil
}

// Release frees the message and returns its bytes to the budget.
func (m *Message) Release(client netip.Addr, b *Budget) {
	b.slow.drop(m)
	m.free()
	b.Give(client, m.taken)
	*m = Message{}
}
