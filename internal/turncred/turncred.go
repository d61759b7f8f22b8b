// Package turncred mints and verifies time-limited TURN credentials without keeping a
// table of them. They have the form of coturn's REST API, so the same code serves an
// external TURN server that shares a secret with this one.
package turncred

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha1" // the form that TURN servers agree on
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

const (
	// Realm is the realm of our relay, a constant, so that a client's claim can be compared.
	Realm = "inbox"

	// Lifetime is how long credentials can begin an allocation. Clients that cannot renew
	// them, such as PeerJS, need them for as long as a page stays open.
	Lifetime = 12 * time.Hour

	// userSize is the length of the hash of an id, in bytes. A user name crosses the
	// network in the clear, so it is a hash, and short.
	userSize = 12
)

// Credentials are what a client presents to a TURN server.
type Credentials struct {
	Username string
	Password string
	Expires  time.Time
}

// An Authority mints and verifies credentials with one secret. It is safe for concurrent
// use.
type Authority struct {
	secret []byte // of the passwords
	names  []byte // key of the hashes of ids
}

// New returns the Authority of a secret that TURN servers share as coturn's
// static-auth-secret.
func New(secret string) *Authority {
	return &Authority{secret: []byte(secret), names: derive([]byte(secret), "inbox turn names")}
}

// FromPepper returns the Authority of our own relay. Servers with the same pepper accept
// each other's credentials.
func FromPepper(pepper [32]byte) *Authority {
	return New(hex.EncodeToString(derive(pepper[:], "inbox turn secret")))
}

func derive(key []byte, purpose string) []byte {
	derived, err := hkdf.Key(sha256.New, key, nil, purpose, sha256.Size)
	if err != nil {
		panic(err) // the length is wrong, and it is a constant
	}
	return derived
}

// Mint returns credentials of id that are valid until now + Lifetime.
func (a *Authority) Mint(id string, now time.Time) Credentials {
	expires := now.Add(Lifetime).Truncate(time.Second)
	username := strconv.FormatInt(expires.Unix(), 10) + ":" + a.User(id)
	return Credentials{Username: username, Password: a.password(username), Expires: expires}
}

// User returns the part of a user name that stands for id. It stays the same when
// credentials are renewed, which lets a client refresh an allocation with new ones.
func (a *Authority) User(id string) string {
	mac := hmac.New(sha256.New, a.names)
	mac.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:userSize])
}

// A Claim is what a user name says. It is proven when the client knows Password.
type Claim struct {
	User     string // as User returns it
	Password string
	Expires  time.Time
}

// Verify returns the claim that username makes, and false if Mint cannot have written it.
// It does not look at the time: the caller decides which requests need credentials that
// have not expired.
func (a *Authority) Verify(username string) (Claim, bool) {
	expiry, user, ok := strings.Cut(username, ":")
	if !ok || len(expiry) > len("253402300799") { // the end of the year 9999
		return Claim{}, false
	}
	seconds, err := strconv.ParseInt(expiry, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != expiry || seconds < 0 {
		return Claim{}, false
	}
	hash, err := base64.RawURLEncoding.DecodeString(user) // which skips line breaks
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
