package redislink

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// Hashes are keyed hashes of names, so that keys and channels in Redis do not reveal the
// names. They are safe for concurrent use.
type Hashes struct {
	pool sync.Pool // of *keyedHash
}

type keyedHash struct {
	mac hash.Hash
	buf []byte
}

// NewHashes returns Hashes under a key for one purpose, which it derives from the servers'
// common key.
func NewHashes(key [32]byte, purpose string) *Hashes {
	own := Derive(key, purpose)
	return &Hashes{sync.Pool{New: func() any { return &keyedHash{mac: hmac.New(sha256.New, own)} }}}
}

// Of returns the hash of a name.
func (h *Hashes) Of(name string) (sum [sha256.Size]byte) {
	k := h.pool.Get().(*keyedHash)
	defer h.pool.Put(k)
	k.mac.Reset()
	k.buf = append(k.buf[:0], name...)
	k.mac.Write(k.buf)
	k.buf = k.mac.Sum(k.buf[:0])
	return [sha256.Size]byte(k.buf)
}

// Derive derives a key for one purpose from the servers' common key.
func Derive(key [32]byte, purpose string) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}
