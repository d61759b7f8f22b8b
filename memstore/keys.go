package memstore

import "inbox"

// digest is an [inbox.Draft.Digest].
type digest = [16]byte

// keys are the idempotency keys that an inbox remembers, at most inbox.KeysRemembered. A
// new key replaces the oldest. A nil *keys is empty.
type keys struct {
	seen   map[digest]struct{}
	ring   []digest // in the order of arrival; once full, it starts at oldest
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

// remember adds a digest that is not in k yet. It returns k, or a new keys if k is nil.
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
