package memstore

import (
	"crypto/sha256"
	"encoding/binary"

	"inbox"
)

// digest stands for a sender, its idempotency key and its body. Half of a
// SHA-256: who finds two of the same deceives nobody but itself.
type digest [16]byte

func digestOf(from string, d inbox.Draft) digest {
	h := sha256.New()
	head := make([]byte, 0, 4+inbox.MaxID+inbox.MaxKey)
	head = binary.BigEndian.AppendUint16(head, uint16(len(from)))
	head = append(head, from...)
	head = binary.BigEndian.AppendUint16(head, uint16(len(d.Key)))
	head = append(head, d.Key...)
	h.Write(head)
	h.Write(d.Body)
	var sum [sha256.Size]byte
	return digest(h.Sum(sum[:0]))
}

// keys are the idempotency keys that an inbox remembers, at most
// inbox.KeysRemembered: the oldest makes room. A nil *keys is empty.
type keys struct {
	seen   map[digest]struct{}
	ring   []digest // in the order of arrival from oldest on, once it is full
	oldest int
}

func (k *keys) has(d digest) bool {
	if k == nil {
		return false
	}
	_, ok := k.seen[d]
	return ok
}

func (k *keys) len() int {
	if k == nil {
		return 0
	}
	return len(k.ring)
}

func (k *keys) full() bool { return k.len() == inbox.KeysRemembered }

// remember adds a digest that is not there yet.
func (k *keys) remember(d digest) *keys {
	if k == nil {
		k = &keys{seen: make(map[digest]struct{})}
	}
	if !k.full() {
		k.ring = append(k.ring, d)
	} else {
		delete(k.seen, k.ring[k.oldest])
		k.ring[k.oldest] = d
		k.oldest = (k.oldest + 1) % len(k.ring)
	}
	k.seen[d] = struct{}{}
	return k
}

// inOrder returns the digests, oldest first.
func (k *keys) inOrder() []digest {
	if k == nil {
		return nil
	}
	return append(append([]digest(nil), k.ring[k.oldest:]...), k.ring[:k.oldest]...)
}
