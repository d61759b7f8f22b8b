package inbox

import (
	"crypto/rand"
	"strings"
	"time"
)

const (
	// CodeTTL is how long a code can be redeemed.
	CodeTTL = 10 * time.Minute

	// codeLetters are the letters of a code. Those that look or sound like others are
	// missing: I and J, L, O, Q, U and W.
	codeLetters = "ABCDEFGHKMNPRSTVXYZ"
	codeLength  = 6
)

// An Invitation is where a code leads: to a peer, or to a room.
type Invitation struct {
	Peer string // id of the peer that created the code
	Room string // name of a room, or empty
}

// NewCode returns six random letters, one of 47 million codes.
func NewCode() string {
	code := make([]byte, 0, codeLength)
	var random [4 * codeLength]byte
	for len(code) < codeLength {
		rand.Read(random[:])
		for _, b := range random {
			if b &= 31; int(b) < len(codeLetters) && len(code) < codeLength {
				code = append(code, codeLetters[b])
			}
		}
	}
	return string(code)
}

// ParseCode returns the code that a person has typed: in either case, and with spaces or
// dashes. It reports false if the text cannot be a code.
func ParseCode(s string) (code string, ok bool) {
	code = strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-':
			return -1
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		}
		return r
	}, s)
	for i := range len(code) {
		if strings.IndexByte(codeLetters, code[i]) < 0 {
			return "", false
		}
	}
	return code, len(code) == codeLength
}
