// Package turncred issues and verifies time-limited TURN credentials without storing
// them. They have the format of coturn's REST API, so an external TURN server that shares
// a secret with this server accepts them too.
package turncred

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha1" // required by the format
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

const (
	// Realm is the realm of the built-in relay. It is a constant, so a client's claim can
	// be compared with it.
	Realm = "inbox"

	// Lifetime is how long credentials can be used to create an allocation. Clients that
	// cannot renew them, such as PeerJS, need them for as long as a page stays open.
	Lifetime = 12 * time.Hour

	// userSize is the length of the hash of an id, in bytes. User names are sent in the
	// clear, so they contain a short hash instead of the id.
	userSize = 12
)

// Credentials are what a client presents to a TURN server.
type Credentials struct {
	Username string
	Password string
	Expires  time.Time
}

// An Authority issues and verifies credentials with one secret. It is safe for concurrent
// use.
type Authority struct {
	secret []byte // key of the passwords
	names  []byte // key of the hashes of ids
}

// New returns an Authority for a secret that is shared with TURN servers, such as
// coturn's static-auth-secret.
func New(secret string) *Authority {
	return &Authority{secret: []byte(secret), names: derive([]byte(secret), "inbox turn names")}
}

// FromPepper returns the Authority of the built-in relay. Servers with the same pepper
// accept each other's credentials.
func FromPepper(pepper [32]byte) *Authority {
	return New(hex.EncodeToString(derive(pepper[:], "inbox turn secret")))
}

func derive(key []byte, purpose string) []byte {
	derived, err := hkdf.Key(sha256.New, key, nil, purpose, sha256.Size)
	if err != nil {
		panic(err) // the constant length is wrong
	}
	return derived
}

// Mint returns credentials for id that are valid until now + Lifetime.
func (a *Authority) Mint(id string, now time.Time) Credentials {
	expires := now.Add(Lifetime).Truncate(time.Second)
	username := strconv.FormatInt(expires.Unix(), 10) + ":" + a.User(id)
	return Credentials{Username: username, Password: a.password(username), Expires: expires}
}

// User returns the part of a user name that identifies id. It does not change when
// credentials are renewed, so a client can refresh an allocation with new ones.
func (a *Authority) User(id string) string {
	mac := hmac.New(sha256.New, a.names)
	mac.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:userSize])
}

// A Claim is the content of a user name. A client proves it by knowing Password.
type Claim struct {
	User     string // as returned by User
	Password string
	Expires  time.Time
}

// Verify parses a user name. It reports false if Mint cannot have created it. It does not
// check the expiry: the caller decides which requests require credentials that have not
// expired.
func (a *Authority) Verify(username string) (Claim, bool) {
	expiry, user, ok := strings.Cut(username, ":")
	if !ok || len(expiry) > len("253402300799") { // end of the year 9999
		return Claim{}, false
	}
	seconds, err := strconv.ParseInt(expiry, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != expiry || seconds < 0 {
		return Claim{}, false
	}
	hash, err := base64.RawURLEncoding.DecodeString(user) // ignores line breaks
	if err != nil || len(hash) != userSize || base64.RawURLEncoding.EncodeToString(hash) != user {
		return Claim{}, false
	}
	return Claim{User: user, Password: a.password(username), Expires: time.Unix(seconds, 0)}, true
}

func (a *Authority) password(username string) string {
	mac := hmac.New(sha1.New, a.secret)
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
