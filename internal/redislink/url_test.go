package redislink

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h":                             "[h:6379]    0 false",
		"redis://h:1/2":                         "[h:1]    2 false",
		"rediss://u:p@h":                        "[h:6379] u p  0 true",
		"redis://:p%40@h:1,i:2,[::1]:3":         "[h:1 i:2 [::1]:3]  p@  0 false",
		"redis://h:1?addr=i:2":                  "[h:1 i:2]    0 false",
		"redis://h:26379,i:26379/?master_set=m": "[h:26379 i:26379]   m 0 false",
		"rediss://h/?master_set=m&sentinel_password=s&addr=i:1": "[h:6379 i:1]   m 0 true",
	} {
		o, err := ParseURL(url)
		got := fmt.Sprintf("%v %s %s %s %d %v", o.InitAddress, o.Username, o.Password, o.Sentinel.MasterSet, o.SelectDB, o.TLSConfig != nil)
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", url, got, err, want)
		}
	}
	for _, url := range []string{"", "memory", "http://h", "redis://", "redis://h,,i", "redis://Kanari:Kanari@h:x", "redis://h/Kanari", "redis://h?Kanari=1&x", "rediss://h?skip_verify=1", "redis://%zz@h"} {
		if _, err := ParseURL(url); err == nil || strings.Contains(err.Error(), "Kanari@") {
			t.Errorf("%q: got the error %v", url, err)
		}
	}
}

// An error about an unencoded password names the cause and never quotes the password.
func TestReservedCharactersInAPassword(t *testing.T) {
	for _, c := range "#/?%^[] \"<>\\`{|}@" {
		for _, user := range []string{"", "user"} {
			for _, format := range []string{"redis://%s:Kana%cri@h", "redis://%s:12%cKanari@h:6379", "rediss://%s:Kanari%c@h:1,i:2/0", "redis://%s:%cKanari=1@h/0?master_set=m"} {
				address := fmt.Sprintf(format, user, c)
				o, err := ParseURL(address)
				if err == nil && strings.HasPrefix(o.InitAddress[0], "h:") && o.Password != "" {
					continue // parsed as intended
				}
				if err == nil || !strings.Contains(err.Error(), "percent-encode") || strings.Contains(err.Error(), "Kana") {
					t.Errorf("%s: error %v, options %v", address, err, o.InitAddress)
				}
			}
		}
	}
	if _, err := ParseURL("redis://h/?sentinel_password=a@b&master_set=m"); err != nil {
		t.Errorf("a known query parameter with a reserved character: %v", err)
	}
}
