package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// serveFlags returns the flags of "inbox serve".
func serveFlags(t testing.TB) []*kong.Flag {
	t.Helper()
	k, err := kong.New(new(cli), kong.DefaultEnvars("INBOX"))
	if err != nil {
		t.Fatal(err)
	}
	return k.Model.Children[0].Flags
}

func writeConfig(t testing.TB, content string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "inbox.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Errors in the file name the line and explain what to do.
func TestConfigMistakes(t *testing.T) {
	for content, want := range map[string]string{
		"# a\n\ntls-domian: x":                  `:3: unknown setting "tls-domian" (did you mean tls-domain?)`,
		"tls_domain: x":                         `:1: unknown setting "tls_domain" (did you mean tls-domain?)`,
		"INBOX_MAX_BODY: 1":                     `:1: unknown setting "INBOX_MAX_BODY" (did you mean max-body?)`,
		"--turn: off":                           `:1: unknown setting "--turn" (did you mean turn?)`,
		"something-else: 1":                     `:1: unknown setting "something-else" (see inbox serve --help)`,
		"help: true":                            `:1: unknown setting "help"`,
		"config: other.yaml":                    `:1: config: a configuration file cannot include another`,
		"drain: 1s\nturn: off\ndrain: 2s":       `:3: drain is given twice`,
		"tls: acme\ntls-domain:":                `:2: tls-domain has no value: add one, or comment out the line with #`,
		"turn:\n  rate: 1":                      `:1: turn has nested settings`,
		"listen: [[a]]":                         `:1: listen is a list with elements`,
		"drain: &a 1s\nmax-wait: *a":            `:2: max-wait is a YAML alias`,
		"allow-origin: *":                       `quote values that start with *`,
		"metrics-listen: [::1]:9600":            `invalid YAML`,
		"tls: perhaps":                          `:1: tls: "perhaps", want one of off, self-signed, files, acme`,
		"max-body: 1XB":                         `:1: max-body: invalid size`,
		"peerjs: perhaps":                       `:1: peerjs: bool value must be true`,
		"just words":                            `:1: want lines of the form 'name: value'`,
		"- drain: 1s":                           `:1: want lines of the form 'name: value'`,
		"drain: 1s\n---\ndrain: 1s":             `unexpected second document`,
		"tls:\toff\n\tdrain: 1s":                `invalid YAML`,
		"\x00\xff":                              `invalid YAML`,
		"#" + strings.Repeat("x", maxConfig):    `is larger than 262144 bytes`,
		"log-level: loud\nnot-looked-at-yet: 1": `:1: log-level: unknown level, want debug, info, warn or error`,
	} {
		name := writeConfig(t, content)
		_, err := readConfig(name, serveFlags(t))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: got %v, want %s", content, err, want)
		}
	}
}

// Values have the same meaning as in a flag. YAML's own types make no difference.
func TestConfigValues(t *testing.T) {
	for content, want := range map[string]fileSettings{
		"":                              {},
		"---\n":                         {},
		"\xef\xbb\xbfturn: off\r\n":     {"turn": "off"},
		"unix-mode: 0660":               {"unix-mode": "0660"},
		"limit-requests: 0":             {"limit-requests": "0"},
		"peerjs: no":                    {"peerjs": "no"},
		"listen: :3000":                 {"listen": ":3000"},
		"listen: '[::1]:80' # why":      {"listen": "[::1]:80"},
		"tls-domain: a.example,b.c":     {"tls-domain": "a.example,b.c"},
		"tls-domain: [a.example, b.c]":  {"tls-domain": "a.example,b.c"},
		"tls-domain:\n- a.example\n- b": {"tls-domain": "a.example,b"},
		"redis-password-file: ''":       {"redis-password-file": ""},
	} {
		got, err := readConfig(writeConfig(t, content), serveFlags(t))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: got %v, %v, want %v", content, got, err, want)
		}
	}
}

// The file can set every flag of the server.
func TestConfigTakesEveryFlag(t *testing.T) {
	for _, flag := range serveFlags(t) {
		if flag.Name == "config" {
			continue
		}
		value := flag.Default
		if value == "" {
			value = map[string]string{"bool": "true"}[flag.Target.Kind().String()]
		}
		content := fmt.Sprintf("%s: %q", flag.Name, value)
		if got, err := readConfig(writeConfig(t, content), serveFlags(t)); err != nil || got[flag.Name] != value {
			t.Errorf("%s: got %v, %v", content, got, err)
		}
	}
}

// Arbitrary files do not cause a panic.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("turn: off\n# x\nlisten: [a, b]\n"))
	f.Add([]byte("a: &a [*a]\n<<: *a\n"))
	flags := serveFlags(f)
	name := filepath.Join(f.TempDir(), "inbox.yaml")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		settings, err := readConfig(name, flags)
		if err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name the file: %v", err)
		}
		for key := range settings {
			if key == "config" || key == "help" {
				t.Errorf("%s was read", key)
			}
		}
	})
}
