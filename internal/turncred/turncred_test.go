package turncred

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"
)

var now = time.Unix(1_790_000_000, 500)

// Servers with the same pepper accept each other's credentials. Others do not.
func TestServersWithSamePepperAcceptEachOther(t *testing.T) {
	a, b, other := FromPepper([32]byte{1}), FromPepper([32]byte{1}), FromPepper([32]byte{2})
	minted := a.Mint("alice", now)
	claim, ok := b.Verify(minted.Username)
	if !ok || claim.Password != minted.Password || claim.User != b.User("alice") || !claim.Expires.Equal(minted.Expires) {
		t.Errorf("got %+v, %v of %+v", claim, ok, minted)
	}
	if claim, _ := other.Verify(minted.Username); claim.Password == minted.Password {
		t.Error("another pepper made the same password")
	}
	if other.User("alice") == a.User("alice") {
		t.Error("the hash of an id does not depend on the pepper")
	}
}

func TestLifetime(t *testing.T) {
	minted := FromPepper([32]byte{1}).Mint("alice", now)
	if got := minted.Expires.Sub(now.Truncate(time.Second)); got != 12*time.Hour {
		t.Errorf("expires after %v", got)
	}
	if !strings.HasPrefix(minted.Username, strconv.FormatInt(minted.Expires.Unix(), 10)+":") {
		t.Error(minted.Username)
	}
}

// The user does not change when credentials are renewed, and differs between ids.
func TestUserIsStable(t *testing.T) {
	a := FromPepper([32]byte{1})
	first, _ := a.Verify(a.Mint("alice", now).Username)
	renewed, _ := a.Verify(a.Mint("alice", now.Add(time.Hour)).Username)
	other, _ := a.Verify(a.Mint("bob", now).Username)
	if first.User != renewed.User || first.User == other.User || first.Password == renewed.Password {
		t.Error(first, renewed, other)
	}
	if strings.Contains(first.User, "alice") {
		t.Error("the user name contains the id")
	}
}

// An external server derives the password from the text of the secret.
func TestPasswordFormatOfCoturn(t *testing.T) {
	const secret = "north"
	minted := New(secret).Mint("alice", now)
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(minted.Username))
	if want := base64.StdEncoding.EncodeToString(mac.Sum(nil)); minted.Password != want {
		t.Errorf("got %s, want %s", minted.Password, want)
	}
}

func TestInvalidUserNames(t *testing.T) {
	a := FromPepper([32]byte{1})
	good := a.Mint("alice", now).Username
	user := a.User("alice")
	for _, bad := range []string{
		"", ":", user, ":" + user, "1790000000", "1790000000:", "1790000000:alice",
		"+" + good, "-" + good, "0" + good, " " + good, good + " ", good + ":x", "x" + good, "1e9:" + user,
		"9999999999999:" + user, "99999999999999999999999:" + user, "1790000000:" + user[1:] + "!",
		"1790000000:" + user[2:] + "\n\n", "0x6ab:" + user, strings.Repeat("1", 1000) + ":" + user,
	} {
		if claim, ok := a.Verify(bad); ok {
			t.Errorf("%q is parsed as %+v", bad, claim)
		}
	}
}

func FuzzVerify(f *testing.F) {
	a := FromPepper([32]byte{1})
	f.Add(a.Mint("alice", now).Username)
	f.Add("1:AAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, username string) {
		claim, ok := a.Verify(username)
		if ok && strconv.FormatInt(claim.Expires.Unix(), 10)+":"+claim.User != username {
			t.Errorf("%q is parsed as %+v", username, claim)
		}
	})
}
