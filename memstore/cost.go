package memstore

import (
	"unsafe"

	"inbox"
)

// What the store counts against [inbox.Limits.Memory]: all that it keeps, in bytes as
// the allocator hands them out in the worst case. TestMemoryIsWhatIsCounted in cmd/inbox
// compares it with the resident memory of a process.
const (
	// inboxCost is an entry, and what its last receiver leaves when its connection has
	// ended: the waker, what it calls, and the spot.
	inboxCost = int64(unsafe.Sizeof(entry{})) + 320

	// roomCost is an entry's share of its shard's map, which may be only a third full.
	roomCost = 96

	// messageCost is an inbox.Message in a slice that may be half empty.
	messageCost = 2 * int64(unsafe.Sizeof(inbox.Message{}))

	// keysCost is what the first idempotency key takes, for all: the ring, and a map of
	// the smallest size. keyCost is each, in a ring and a map that may be half empty.
	keysCost = 416
	keyCost  = 112
)

// sizeCost is what n bytes take: the allocator rounds up, to pages beyond 32 KiB.
func sizeCost(n int) int64 {
	switch {
	case n == 0:
		return 0
	case n > 32<<10:
		pages := int64(n+8<<10-1) &^ (8<<10 - 1)
		return pages + pages/32 // what the runtime keeps of each
	}
	return int64(n + n/8 + 16)
}

// costOf is what a message is counted for. Its sender's id counts for each, because the
// inbox that it came from may end before.
func costOf(m *inbox.Message) int64 {
	return messageCost + sizeCost(len(m.Body)) + sizeCost(len(m.From))
}

// costOfKeys is what an inbox is counted for that remembers n keys.
func costOfKeys(n int) int64 {
	if n == 0 {
		return 0
	}
	return keysCost + int64(n)*keyCost
}

// trimmed returns a body in memory that takes no more than it is counted for.
func trimmed(body []byte) []byte {
	spare := cap(body) - len(body)
	if len(body) > 32<<10 && int64(cap(body)) <= sizeCost(len(body))*31/32 || len(body) <= 32<<10 && spare <= len(body)/8+16 {
		return body
	}
	return append(make([]byte, 0, len(body)), body...)
}
