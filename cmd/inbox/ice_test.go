package main

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"inbox/internal/turncred"
)

// Every browser can use the URLs of our relay: there are at most two for TURN, and no
// turns: URL has an IP address or a certificate that browsers do not trust.
func TestRelayURLs(t *testing.T) {
	all := relayed{udp: 3478, tcp: 3478, trusted: true, authority: turncred.New("x")}
	only := func(f func(*relayed)) relayed {
		r := all
		f(&r)
		return r
	}
	for _, c := range []struct {
		name  string
		relay relayed
		host  string
		tls   bool
		stun  string
		turn  []string
	}{
		{"a name over TLS", all, "inbox.example", true, "stun:inbox.example:3478", []string{"turn:inbox.example:3478?transport=udp", "turns:inbox.example:443?transport=tcp"}},
		{"the port of the request", all, "inbox.example:8443", true, "stun:inbox.example:3478", []string{"turn:inbox.example:3478?transport=udp", "turns:inbox.example:8443?transport=tcp"}},
		{"a name without TLS, or behind a proxy that terminates it", all, "inbox.example", false, "stun:inbox.example:3478", []string{"turn:inbox.example:3478?transport=udp", "turn:inbox.example:3478?transport=tcp"}},
		{"an untrusted certificate", only(func(r *relayed) { r.trusted = false }), "inbox.example", true, "stun:inbox.example:3478", []string{"turn:inbox.example:3478?transport=udp", "turn:inbox.example:3478?transport=tcp"}},
		{"an address over TLS", all, "192.0.2.7:443", true, "stun:192.0.2.7:3478", []string{"turn:192.0.2.7:3478?transport=udp", "turn:192.0.2.7:3478?transport=tcp"}},
		{"an IPv6 address", all, "[2001:db8::7]:8443", true, "stun:[2001:db8::7]:3478", []string{"turn:[2001:db8::7]:3478?transport=udp", "turn:[2001:db8::7]:3478?transport=tcp"}},
		{"an IPv6 address without a port", all, "[::1]", false, "stun:[::1]:3478", []string{"turn:[::1]:3478?transport=udp", "turn:[::1]:3478?transport=tcp"}},
		{"this machine", all, "localhost:3000", false, "stun:localhost:3478", []string{"turn:localhost:3478?transport=udp", "turn:localhost:3478?transport=tcp"}},
		{"no UDP", only(func(r *relayed) { r.udp = 0 }), "inbox.example", true, "", []string{"turns:inbox.example:443?transport=tcp", "turn:inbox.example:3478?transport=tcp"}},
		{"only HTTPS", only(func(r *relayed) { r.udp, r.tcp = 0, 0 }), "inbox.example", true, "", []string{"turns:inbox.example:443?transport=tcp"}},
		{"no listener", only(func(r *relayed) { r.udp, r.tcp = 0, 0 }), "inbox.example", false, "", nil},
		{"a separate host", only(func(r *relayed) { r.host = "turn.example" }), "cdn.example", true, "stun:turn.example:3478", []string{"turn:turn.example:3478?transport=udp", "turns:turn.example:443?transport=tcp"}},
		{"a separate address", only(func(r *relayed) { r.host = "2001:db8::7" }), "inbox.example", true, "stun:[2001:db8::7]:3478", []string{"turn:[2001:db8::7]:3478?transport=udp", "turn:[2001:db8::7]:3478?transport=tcp"}},
		{"a separate host and no Host header", only(func(r *relayed) { r.host = "turn.example" }), "", false, "stun:turn.example:3478", []string{"turn:turn.example:3478?transport=udp", "turn:turn.example:3478?transport=tcp"}},
		{"no Host header", all, "", false, "", nil},
		{"an invalid host", all, "a b", false, "", nil},
		{"a host that would inject a parameter", all, "x?transport=tcp", false, "", nil},
		{"an invalid port", all, "inbox.example:99999", true, "", nil},
		{"no relay", relayed{}, "inbox.example", true, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{Host: c.host}
			if c.tls {
				r.TLS = new(tls.ConnectionState)
			}
			stun, turn := c.relay.urls(r)
			if stun != c.stun || !slices.Equal(turn, c.turn) {
				t.Errorf("got %q %q, want %q %q", stun, turn, c.stun, c.turn)
			}
			for _, url := range append(turn, stun) {
				if url != "" && !iceURL.MatchString(url) {
					t.Errorf("%q is not a URL of an ICE server", url)
				}
			}
		})
	}
}

// External servers are listed before ours, with credentials in the format of coturn.
func TestExternalICEServers(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cr3t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := iceFlags{ICEServer: []string{"stun:stun.example", "turn:a.example", "TURNS:b.example:5349?transport=tcp"}, ICESecretFile: secret}
	if err := flags.checkICE(); err != nil {
		t.Fatal(err)
	}
	list, err := flags.iceServers(relayed{udp: 3478, authority: turncred.New("ours")})
	if err != nil {
		t.Fatal(err)
	}
	got := list(&http.Request{Host: "inbox.example"}, "alice")
	if len(got) != 3 || got[0].URLs[0] != "stun:stun.example" || got[0].Username != "" ||
		!slices.Equal(got[1].URLs, flags.ICEServer[1:]) || got[2].URLs[0] != "turn:inbox.example:3478?transport=udp" {
		t.Fatalf("got %+v", got)
	}
	for i, authority := range []*turncred.Authority{turncred.New("s3cr3t"), turncred.New("ours")} {
		claim, ok := authority.Verify(got[i+1].Username)
		if !ok || claim.Password != got[i+1].Credential || strings.Contains(got[i+1].Username, "alice") {
			t.Errorf("the credentials %+v are not valid", got[i+1])
		}
	}
}

func TestInvalidICEServers(t *testing.T) {
	for url, want := range map[string]string{
		"stun.example":                      "stun:HOST",
		"stun:":                             "stun:HOST",
		"stun://stun.example":               "stun:HOST",
		"http://stun.example":               "stun:HOST",
		"stun:stun.example:0":               "1 to 65535",
		"stun:stun.example:65536":           "1 to 65535",
		"stun:stun.example:99999":           "1 to 65535",
		"stun:stun.example:x":               "stun:HOST",
		"stun:stun.example?transport=udp":   "have a transport",
		"turn:user@turn.example":            "turn:HOST",
		"turn:turn.example?transport=sctp":  "turn:HOST",
		"turn:turn.example?transport=udp&x": "turn:HOST",
		"turn:2001:db8::1":                  "turn:HOST",
		"turn:turn.example":                 "--ice-secret-file",
		"":                                  "stun:HOST",
	} {
		if err := (&iceFlags{ICEServer: []string{url}}).checkICE(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q in it", url, err, want)
		}
	}
	if err := (&iceFlags{ICESecretFile: "x"}).checkICE(); err == nil {
		t.Error("a secret without a TURN server is accepted")
	}
	for _, url := range []string{"stun:a", "stuns:a.example:5349", "stun:[::1]:3478", "stun:192.0.2.1:65535"} {
		if err := (&iceFlags{ICEServer: []string{url}}).checkICE(); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, file := range []string{filepath.Join(t.TempDir(), "missing"), os.DevNull} {
		if _, err := (&iceFlags{ICEServer: []string{"turn:a"}, ICESecretFile: file}).iceServers(relayed{}); err == nil || !strings.HasPrefix(err.Error(), "--ice-secret-file: ") {
			t.Errorf("%s: %v", file, err)
		}
	}
}
