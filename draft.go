package inbox

import (
	"crypto/sha256"
	"encoding/binary"
)

// Digest returns a hash of the sender, the idempotency key and the body. Half of a
// SHA-256 is enough: a collision can only harm the sender who constructs it.
func (d Draft) Digest(from string) [16]byte {
	h := sha256.New()
	head := make([]byte, 0, 4+MaxID+MaxKey)
	head = binary.BigEndian.AppendUint16(head, uint16(len(from)))
	head = append(head, from...)
	head = binary.BigEndian.AppendUint16(head, uint16(len(d.Key)))
	head = append(head, d.Key...)
	h.Write(head)
	h.Write(d.Body)
	var sum [sha256.Size]byte
	return [16]byte(h.Sum(sum[:0]))
}
