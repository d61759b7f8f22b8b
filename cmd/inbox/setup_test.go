package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"testing"
)

// A setting changes in place. Comments and all other lines stay.
func TestChangeSetting(t *testing.T) {
	const file = "# The name.\n#tls-domain: signal.example.com\n\nallow-origin:\n  - https://a.example\n  - https://b.example\n# The end.\nturn: off # why"
	for _, c := range []struct{ content, name, value, want string }{
		{"", "tls", "acme", "tls: acme\n"},
		{"# only\n", "tls", "acme", "# only\ntls: acme\n"},
		{"tls: off\n", "tls", "acme", "tls: acme\n"},
		{"tls: acme", "tls", "acme", "tls: acme"},
		{file, "tls-domain", "x.example", strings.Replace(file, "#tls-domain: signal.example.com", "tls-domain: x.example", 1) + "\n"},
		{file, "allow-origin", "*", strings.Replace(file, "allow-origin:\n  - https://a.example\n  - https://b.example", "allow-origin: '*'", 1) + "\n"},
		{file, "turn", "open", strings.Replace(file, "turn: off # why", "turn: open", 1) + "\n"},
		{file, "drain", "1s", file + "\ndrain: 1s\n"},
		{"# tls-email: a\ntls: off\n", "tls-email", "b@c.example", "tls-email: b@c.example\ntls: off\n"},
	} {
		got, err := changeSetting([]byte(c.content), c.name, c.value)
		if err != nil || string(got) != c.want {
			t.Errorf("%s of %q: got %q, %v, want %q", c.name, c.content, got, err, c.want)
		}
		settings, err := readConfig(writeConfig(t, string(got)), serveFlags(t))
		if err != nil || settings[c.name] != c.value {
			t.Errorf("the file has %q, %v", settings[c.name], err)
		}
	}
	if _, err := changeSetting([]byte("\n: ["), "tls", "acme"); err == nil || !strings.Contains(err.Error(), "invalid YAML") {
		t.Errorf("a damaged file: %v", err)
	}
}

type fakeResolver struct {
	found []string
	err   error
}

func (f fakeResolver) LookupNetIP(context.Context, string, string) (all []netip.Addr, err error) {
	for _, a := range f.found {
		all = append(all, netip.MustParseAddr(a))
	}
	return all, f.err
}

// If a name does not lead to this machine, the error shows the right record.
func TestCheckName(t *testing.T) {
	missing := &net.DNSError{Err: "no such host", IsNotFound: true}
	for _, c := range []struct {
		own, found []string
		err        error
		note, want string
	}{
		{own: []string{"203.0.113.5"}, found: []string{"203.0.113.5"}, note: "leads to 203.0.113.5, this machine"},
		{own: []string{"203.0.113.5", "2001:db8::5"}, found: []string{"::ffff:203.0.113.5", "2001:db8::5"}, note: "203.0.113.5 and 2001:db8::5, this machine"},
		{found: []string{"203.0.113.5"}, note: "behind a router or a cloud"},
		{own: []string{"2001:db8::5"}, found: []string{"203.0.113.5", "2001:db8::5"}, note: "behind a router or a cloud"},
		{own: []string{"203.0.113.5"}, found: []string{"198.51.100.7"}, want: "leads to 198.51.100.7, which is not an address of this machine: change its records to A 203.0.113.5"},
		{own: []string{"203.0.113.5", "2001:db8::5"}, found: []string{"203.0.113.5", "2001:db8::7"}, want: "change its records to A 203.0.113.5 and AAAA 2001:db8::5"},
		{own: []string{"203.0.113.5"}, found: []string{"203.0.113.5", "2001:db8::7"}, want: "remove the AAAA record"},
		{own: []string{"203.0.113.5"}, err: missing, want: "has no address: add A 203.0.113.5 at your DNS provider"},
		{err: missing, want: "add an A record with the public address of this machine"},
		{err: errors.New("refused"), want: "cannot look up signal.example.com: refused: check this machine's DNS"},
	} {
		var own []netip.Addr
		for _, a := range c.own {
			own = append(own, netip.MustParseAddr(a))
		}
		note, err := checkName(t.Context(), fakeResolver{c.found, c.err}, "signal.example.com", own)
		if c.want == "" && (err != nil || !strings.Contains(note, c.note)) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v for %v: %q, %v, want %q", c.found, c.own, note, err, c.note+c.want)
		}
	}
}

// An error shows the number of a port in use. All ports of the server are checked.
func TestCheckPorts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen=" + ln.Addr().String()}, "/tcp"},
		{[]string{"--listen=127.0.0.1:0", "--turn-listen=" + packets.LocalAddr().String()}, "/udp"},
		{[]string{"--listen=127.0.0.1:0", "--turn-listen=127.0.0.1:0"}, ""},
		{[]string{"--listen=127.0.0.1:0", "--turn=off", "--turn-listen=" + packets.LocalAddr().String()}, ""},
	} {
		serve, err := parseServe(c.args)
		if err != nil {
			t.Fatal(err)
		}
		err = serve.checkPorts(t.Context())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "listens on port")) {
			t.Errorf("%v: %v", c.args, err)
		}
	}
	open, err := parseServe([]string{"--tls=acme", "--tls-domain=signal.example.com", "--turn=open", "--turn-ip=8.8.8.8"})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(open.publicPorts()); got != "[443/tcp 80/tcp 3478/udp 3478/tcp 49160-49359/udp]" {
		t.Errorf("the ports are %s", got)
	}
	all := func(string) bool { return true }
	if got := fmt.Sprint(firewallCommands([]string{"443/tcp", "1-2/udp"}, all)); got != "[ufw allow 443/tcp; ufw allow 1:2/udp firewall-cmd --permanent --add-port=443/tcp --add-port=1-2/udp; firewall-cmd --reload]" {
		t.Errorf("the commands are %s", got)
	}
}

// The settings combine the file, the name and --set, and are validated before anything
// changes.
func TestSetupSettings(t *testing.T) {
	content, err := (&setupCommand{Name: "x.example.com", Config: single + "inbox.yaml", Set: []string{"max-memory=64MiB", "allow-origin=https://a.example,https://b.example"}}).made(t)
	if err != nil || !strings.Contains(content, "\ntls-domain: x.example.com\n") || !strings.Contains(content, "\nallow-origin: https://a.example,https://b.example\n") || !strings.Contains(content, "\nmax-memory: 64MiB\n") {
		t.Errorf("%v:\n%s", err, content)
	}
	if strings.Count(content, "\n") < 40 {
		t.Errorf("comments are gone:\n%s", content)
	}
	for want, c := range map[string]setupCommand{
		"nobody/inbox.yaml:3: unknown setting \"max-memoryy\"": {Name: "x.example.com", Set: []string{"max-memoryy=1"}},
		"want SETTING=VALUE":                        {Name: "x.example.com", Set: []string{"max-memory"}},
		"is not a host name":                        {Name: "https://x.example.com"},
		"only issues certificates for public names": {Name: "localhost"},
	} {
		c.Config = "nobody/inbox.yaml"
		if _, err := c.made(t); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func (c *setupCommand) made(t *testing.T) (string, error) {
	content, _, err := c.settings(t.Context())
	return string(content), err
}

// On a small machine, setup leaves half of the memory to the rest of the program.
func TestSetupOnSmallMachine(t *testing.T) {
	before := debug.SetMemoryLimit(700 << 20)
	defer debug.SetMemoryLimit(before)
	c := setupCommand{Name: "x.example.com", Config: single + "inbox.yaml"}
	if content, err := c.made(t); err != nil || !strings.Contains(content, "\nmax-memory: 350MiB\n") {
		t.Errorf("%v:\n%s", err, content)
	}
	c.Set = []string{"max-memory=100MiB"}
	if content, err := c.made(t); err != nil || !strings.Contains(content, "\nmax-memory: 100MiB\n") {
		t.Errorf("%v:\n%s", err, content)
	}
}
