package memstore

import (
	"unsafe"

	"inbox"
)

// Costs count against [inbox.Limits.Memory]: everything the store keeps, in bytes, as the
// allocator rounds it up in the worst case. TestMemoryIsWhatIsCounted in cmd/inbox
// compares them with the resident memory of a process.
const (
	// inboxCost is an entry, and what its last receiver leaves behind when its connection
	// has ended: the waker, the function it calls, and the parking spot.
	inboxCost = int64(unsafe.Sizeof(entry{})) + 320

	// roomCost is an entry's share of its shard's map, which may be only a third full.
	roomCost = 96

	// messageCost is an inbox.Message in a slice that may be half empty.
	messageCost = 2 * int64(unsafe.Sizeof(inbox.Message{}))

	// keysCost is paid once, for the first idempotency key of an inbox: the ring and a
	// map of the smallest size. keyCost is paid for each key, in a ring and a map that
	// may be half empty.
	keysCost = 416
	keyCost  = 112
)

// sizeCost returns what an allocation of n bytes takes. The allocator rounds up to a size
// class, or to whole pages above 32 KiB.
func sizeCost(n int) int64 {
	switch {
	case n == 0:
		return 0
	case n > 32<<10:
		pages := int64(n+8<<10-1) &^ (8<<10 - 1)
		return pages + pages/32 // the runtime's bookkeeping per page
	}
	return int64(n + n/8 + 16)
}

// costOf returns the cost of a message. Each message pays for its sender's id, because
// the sender's inbox may be gone before the message is.
func costOf(m *inbox.Message) int64 {
	return messageCost + sizeCost(len(m.Body)) + sizeCost(len(m.From))
}

// costOfKeys returns the cost of an inbox's n remembered keys.
func costOfKeys(n int) int64 {
	if n == 0 {
		return 0
	}
	return keysCost + int64(n)*keyCost
}

// trimmed returns body in an allocation that takes no more than sizeCost says, copying it
// if its spare capacity is too large.
func trimmed(body []byte) []byte {
	spare := cap(body) - len(body)
	if len(body) > 32<<10 && int64(cap(body)) <= sizeCost(len(body))*31/32 || len(body) <= 32<<10 && spare <= len(body)/8+16 {
		return body
	}
	return append(make([]byte, 0, len(body)), body...)
}
