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

// Maximum lengths of what a peer may choose, in bytes.
const (
	MaxID       = 512
	MaxPassword = 256
	MaxKey      = 64
)

// CheckID returns an error that explains what is wrong with an id, in words for the
// person who chose it. An id is 1 to MaxID bytes of UTF-8 without control characters,
// without white space at either end, and without a colon, which Basic authentication (RFC
// 7617) cannot carry.
func CheckID(id string) error { return checkName("an id", id) }

// checkName checks an id or another name that follows its rules. what is the subject of the
// error.
func checkName(what, name string) error {
	switch {
	case name == "":
		return errors.New(what + " must not be empty")
	case len(name) > MaxID:
		return fmt.Errorf("%s must not be longer than %d bytes", what, MaxID)
	case !utf8.ValidString(name):
		return errors.New(what + " must be valid UTF-8")
	case strings.ContainsRune(name, ':'):
		return errors.New(what + " must not contain a colon")
	case strings.ContainsFunc(name, unicode.IsControl):
		return errors.New(what + " must not contain control characters")
	}
	first, _ := utf8.DecodeRuneInString(name)
	last, _ := utf8.DecodeLastRuneInString(name)
	if unicode.IsSpace(first) || unicode.IsSpace(last) {
		return errors.New(what + " must not begin or end with white space")
	}
	return nil
}

// CheckPassword returns an error that explains what is wrong with a password. A password
// is 1 to MaxPassword arbitrary bytes.
func CheckPassword(password string) error {
	switch {
	case password == "":
		return errors.New("a password must not be empty")
	case len(password) > MaxPassword:
		return fmt.Errorf("a password must not be longer than %d bytes", MaxPassword)
	}
	return nil
}

// CheckKey returns an error that explains what is wrong with an idempotency key. A key is
// 1 to MaxKey visible ASCII characters.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("an idempotency key must have 1 to %d characters", MaxKey)
	}
	for i := range len(key) {
		if key[i] < '!' || key[i] > '~' {
			return errors.New("an idempotency key must consist of visible ASCII characters")
		}
	}
	return nil
}

// A Secret is what a server keeps of a password: a keyed hash of the id and the password.
// Packages fmt and log/slog and the encoders print a placeholder for it. Keep secrets in
// exported struct fields: fmt does not call the Format method of unexported ones.
type Secret [sha256.Size]byte

// Equal reports whether two secrets are equal, in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s[:], other[:]) == 1
}

// Format keeps every verb of package fmt from printing the secret.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "[secret]") }

// LogValue keeps log/slog from printing the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText keeps encoders from writing the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// PepperSize is the length of a [Pepper]'s key, in bytes.
const PepperSize = 32

// A Pepper derives secrets from passwords with a server-side key. Servers that share
// inboxes must share the key. A Pepper is safe for concurrent use.
type Pepper struct {
	key  [PepperSize]byte
	pool sync.Pool // of *hasher, each with an HMAC that is already keyed
}

type hasher struct {
	mac hash.Hash
	buf [2 + MaxID + MaxPassword]byte
	sum Secret
}

// NewPepper returns a Pepper with the given key, which must be random and secret.
func NewPepper(key [PepperSize]byte) *Pepper {
	p := &Pepper{key: key}
	p.pool.New = func() any { return &hasher{mac: hmac.New(sha256.New, p.key[:])} }
	return p
}

// Key returns the key, for callers that store it with the secrets.
func (p *Pepper) Key() [PepperSize]byte { return p.key }

// Secret returns an HMAC-SHA256 of the length-prefixed id and the password. The id acts
// as the salt. Without the key, a copied store does not allow guessing passwords offline.
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
