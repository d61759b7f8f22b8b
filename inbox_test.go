package inbox_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"inbox"
)

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{
		"a":                              true,
		"alice":                          true,
		"a b":                            true,
		"a@b.example/c?d#e%20":           true,
		"日本語 🦊":                          true,
		strings.Repeat("x", 512):         true,
		strings.Repeat("é", 256):         true,
		"\u200b":                         true, // not white space
		"":                               false,
		strings.Repeat("x", 513):         false,
		strings.Repeat("x", 511) + "é":   false,
		"a:b":                            false,
		":":                              false,
		"\xff":                           false,
		"a\xc3":                          false,
		"\xed\xa0\x80":                   false, // half a surrogate pair
		" a":                             false,
		"a ":                             false,
		" ":                              false,
		"\u00a0a":                        false,
		"a\u2003":                        false,
		"a\u3000":                        false,
		"a\tb":                           false,
		"a\x00b":                         false,
		"a\x7fb":                         false,
		"a\u0085b":                       false,
		"a\r\nInjected-Header: yes":      false,
		"\u2028a":                        false,
		strings.Repeat(" ", 512) + "abc": false,
	} {
		if err := inbox.CheckID(id); (err == nil) != ok {
			t.Errorf("CheckID(%.20q) = %v", id, err)
		}
	}
}

func TestCheckPassword(t *testing.T) {
	for password, ok := range map[string]bool{
		"":                       false,
		"p":                      true,
		":":                      true,
		" \x00\xff":              true,
		strings.Repeat("p", 256): true,
		strings.Repeat("p", 257): false,
	} {
		if err := inbox.CheckPassword(password); (err == nil) != ok {
			t.Errorf("CheckPassword(%.20q) = %v", password, err)
		}
	}
}

func TestCheckKey(t *testing.T) {
	for key, ok := range map[string]bool{
		"":                      false,
		"k":                     true,
		"!~":                    true,
		strings.Repeat("k", 64): true,
		strings.Repeat("k", 65): false,
		"a b":                   false,
		"k\n":                   false,
		"\x7f":                  false,
		"é":                     false,
	} {
		if err := inbox.CheckKey(key); (err == nil) != ok {
			t.Errorf("CheckKey(%.20q) = %v", key, err)
		}
	}
}

func TestCursorsRoundTrip(t *testing.T) {
	for _, c := range []inbox.Cursor{
		{}, {Life: 1}, {Life: 1, Seq: 1}, {Life: math.MaxUint64, Seq: math.MaxUint64}, {Life: 1 << 63}, {Life: 0x0102030405060708, Seq: 9},
	} {
		s := c.String()
		if got, err := inbox.ParseCursor(s); err != nil || got != c {
			t.Errorf("ParseCursor(%q) = %v, %v, want %v", s, got, err, c)
		}
		if c != (inbox.Cursor{}) && len(s) != 22 {
			t.Errorf("%q has %d characters", s, len(s))
		}
	}
	if got := (inbox.Cursor{}).String(); got != "0" {
		t.Errorf("the zero cursor is %q", got)
	}
}

func TestParseCursorRejectsMalformedInput(t *testing.T) {
	good := inbox.Cursor{Life: 7, Seq: 7}.String()
	for _, s := range []string{
		"", "00", "1", "-1", " 0", "0 ", good + "=", good + "==", good[:21], good + "A", " " + good, good + "\n",
		good[:21] + "B", // unused bits set
		good[:10] + "\n" + good[10:21], good[:10] + "+" + good[11:], good[:10] + "/" + good[11:],
		inbox.Cursor{Life: 0, Seq: 7}.String(), strings.Repeat("A", 22), strings.Repeat("é", 11),
	} {
		if c, err := inbox.ParseCursor(s); !errors.Is(err, inbox.ErrBadCursor) || c != (inbox.Cursor{}) {
			t.Errorf("ParseCursor(%q) = %v, %v", s, c, err)
		}
	}
}

func TestZeroLimitsMeanTheDefaults(t *testing.T) {
	want := inbox.Limits{TTL: time.Minute, Messages: 100, Bytes: 1 << 20, Inboxes: 1_000_000, Memory: 1 << 30, RoomMembers: 64, Rooms: 16, Share: 100}
	if got := (inbox.Limits{}).WithDefaults(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	own := inbox.Limits{TTL: 1, Messages: 2, Bytes: 3, Inboxes: 4, Memory: 5, RoomMembers: 9, Rooms: 10, Share: 6, Guesses: inbox.Guesses{Every: 7, Burst: 8}}
	if got := own.WithDefaults(); got != own {
		t.Errorf("WithDefaults changed %+v to %+v", own, got)
	}
}
