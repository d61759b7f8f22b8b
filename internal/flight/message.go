package flight

import (
	"net/netip"
	"sync"
	"time"

	"inbox/internal/problem"
)

// Chunk is how much memory a Message takes at a time, in bytes.
const Chunk = 8 << 10

// chunks are kept for the next message: what is made and thrown away for each part of a
// message would take as much memory as the message.
var chunks = sync.Pool{New: func() any { return new([Chunk]byte) }}

// A Message is what has come so far of something that arrives in parts. It takes memory
// as they come. The zero Message is empty. It is not safe for concurrent use.
type Message struct {
	// Cut is called, if it is not nil, when the message is Lost: it has whoever waits for
	// more stop. It must not block, nor use the Message. Set it before the first part.
	Cut func()

	parts []part
	size  int
	taken int

	slow  int       // of taken; guarded by the lock of the Budget's slow, as what follows
	moved time.Time // when the last part came
	lost  bool
}

// part is a stretch of a message: as much of chunk as is used, or memory of its own.
type part struct {
	chunk *[Chunk]byte
	bytes []byte
}

// Len returns how many bytes have come.
func (m *Message) Len() int { return m.size }

// Room makes room for n more bytes of a client and returns where they go. It returns less
// where less than n are the next in memory, and the problem that answers the client when
// the budget has no room. A Message counts for all the memory that it has taken. Its
// client is always the same.
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
	// The rest of something comes at once: what came before it goes in front, so that
	// Bytes has nothing to do.
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

// Bytes returns the whole message in memory of its own size, which the Message no longer
// has.
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

// Release lets go of the message, and gives back what it counted for.
func (m *Message) Release(client netip.Addr, b *Budget) {
	b.slow.drop(m)
	m.free()
	b.Give(client, m.taken)
	*m = Message{}
}
