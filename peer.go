package inbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Limits of what a peer may choose, in bytes.
const (
	MaxID       = 512
	MaxPassword = 256
	MaxKey      = 64
)

// CheckID says what is wrong with a peer's id, in words for whoever chose it.
// An id is 1 to MaxID bytes of UTF-8 without control characters, without white
// space at its ends and without a colon, which Basic (RFC 7617) cannot carry.
func CheckID(id string) error {
	switch {
	case id == "":
		return errors.New("an id cannot be empty")
	case len(id) > MaxID:
		return fmt.Errorf("an id has at most %d bytes", MaxID)
	case !utf8.ValidString(id):
		return errors.New("an id is valid UTF-8")
	case strings.ContainsRune(id, ':'):
		return errors.New("an id holds no colon")
	case strings.ContainsFunc(id, unicode.IsControl):
		return errors.New("an id holds no control characters")
	}
	first, _ := utf8.DecodeRuneInString(id)
	last, _ := utf8.DecodeLastRuneInString(id)
	if unicode.IsSpace(first) || unicode.IsSpace(last) {
		return errors.New("an id has no white space at its ends")
	}
	return nil
}

// CheckPassword says what is wrong with a password: it has 1 to MaxPassword
// bytes of any kind.
func CheckPassword(password string) error {
	switch {
	case password == "":
		return errors.New("a password cannot be empty")
	case len(password) > MaxPassword:
		return fmt.Errorf("a password has at most %d bytes", MaxPassword)
	}
	return nil
}

// CheckKey says what is wrong with an idempotency key: it has 1 to MaxKey
// visible ASCII characters.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("an idempotency key has 1 to %d characters", MaxKey)
	}
	for i := range len(key) {
		if key[i] < '!' || key[i] > '~' {
			return errors.New("an idempotency key holds visible ASCII characters only")
		}
	}
	return nil
}

// A Secret is what a server keeps of a password: a keyed hash of it and of the
// id. Packages fmt, log/slog and encoders print a placeholder for it; keep it in
// exported fields, since fmt does not ask for one in others.
type Secret [sha256.Size]byte

// Equal compares in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s[:], other[:]) == 1
}

// Format keeps every verb of package fmt from printing a secret.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "[secret]") }

// LogValue keeps log/slog from printing a secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText keeps encoders from writing a secret.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// PepperSize is the length of the key that a [Pepper] is made of, in bytes.
const PepperSize = 32

// A Pepper turns passwords into secrets. Servers that share their inboxes
// share its key. It is safe for concurrent use.
type Pepper struct {
	key  [PepperSize]byte
	pool sync.Pool // of *hasher: an HMAC that is keyed already
}

type hasher struct {
	mac hash.Hash
	buf [2 + MaxID + MaxPassword]byte
	sum Secret
}

// NewPepper makes a Pepper of a key that nobody can guess.
func NewPepper(key [PepperSize]byte) *Pepper {
	p := &Pepper{key: key}
	p.pool.New = func() any { return &hasher{mac: hmac.New(sha256.New, p.key[:])} }
	return p
}

// Key returns the key, for whoever has to keep it beside the secrets.
func (p *Pepper) Key() [PepperSize]byte { return p.key }

// Secret is HMAC-SHA256 over the id, its length before it, and the password:
// the id is the salt, and a copied store is of no use without the key.
func (p *Pepper) Secret(id, password string) Secret {
	h := p.pool.Get().(*hasher)
	defer p.pool.Put(h)
	h.mac.Reset()
	buf := binary.BigEndian.AppendUint16(h.buf[:0], uint16(len(id)))
	buf = append(append(buf, id...), password...)
	h.mac.Write(buf)
	clear(buf)
	h.mac.Sum(h.sum[:0])
	return h.sum
}
