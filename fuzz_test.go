package inbox_test

import (
	"errors"
	"testing"
	"unicode/utf8"

	"inbox"
)

// mayBeID is an independent implementation of the rules for ids.
func mayBeID(id string) bool {
	if len(id) < 1 || len(id) > 512 {
		return false
	}
	white := map[rune]bool{ // Unicode white space, without the control characters
		' ': true, 0xa0: true, 0x1680: true, 0x2028: true, 0x2029: true, 0x202f: true, 0x205f: true, 0x3000: true,
	}
	for r := rune(0x2000); r <= 0x200a; r++ {
		white[r] = true
	}
	for i, r := range id {
		size := utf8.RuneLen(r)
		switch {
		case r == utf8.RuneError && id[i:min(len(id), i+size)] != "\uFFFD":
			return false
		case r < 0x20 || r >= 0x7f && r <= 0x9f || r == ':':
			return false
		case white[r] && (i == 0 || i+size == len(id)):
			return false
		}
	}
	return true
}

func FuzzID(f *testing.F) {
	for _, id := range []string{
		"", "alice", "a b", " a", "a ", "a:b", "\xff", "a\xed\xa0\x80", "\uFFFD", "\u00a0x", "x\u3000", "a\u0085b", "\u200b", "日本語", "a\x00", "\x7f",
	} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if err := inbox.CheckID(id); (err == nil) != mayBeID(id) {
			t.Errorf("CheckID(%q) = %v", id, err)
		}
	})
}

func FuzzKey(f *testing.F) {
	for _, key := range []string{"", "k", "!~", "a b", "\x7f", "é", "\n", string(make([]byte, 64)), string(make([]byte, 65))} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		want := len(key) > 0 && len(key) <= 64
		for _, r := range key {
			want = want && 0x21 <= r && r <= 0x7e
		}
		if err := inbox.CheckKey(key); (err == nil) != want {
			t.Errorf("CheckKey(%q) = %v", key, err)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(uint64(0), uint64(0))
	f.Add(uint64(1), uint64(0))
	f.Add(^uint64(0), ^uint64(0))
	f.Fuzz(func(t *testing.T, life, seq uint64) {
		c := inbox.Cursor{Life: life, Seq: seq}
		got, err := inbox.ParseCursor(c.String())
		if life == 0 && seq != 0 {
			if err == nil {
				t.Errorf("%v, which has no life, was parsed as %v", c, got)
			}
		} else if err != nil || got != c {
			t.Errorf("%v was formatted as %q and parsed as %v, %v", c, c.String(), got, err)
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"", "0", "00", inbox.Cursor{Life: 7, Seq: 7}.String(), "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAEAAAAAAAAAAB", "a\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := inbox.ParseCursor(s)
		switch {
		case err == nil && c.String() != s:
			t.Errorf("%q was parsed as %v, which is formatted as %q", s, c, c.String())
		case err != nil && (!errors.Is(err, inbox.ErrBadCursor) || c != inbox.Cursor{}):
			t.Errorf("ParseCursor(%q) = %v, %v", s, c, err)
		}
	})
}
