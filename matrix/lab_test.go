//go:build linux

package matrix

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// The addresses of the server and the proxy. Browsers treat these ranges as public (RFC
// 2544, RFC 3849).
const (
	serverName = "signal.example"
	server4    = "198.18.0.10"
	server6    = "2001:db8:0::10"
	proxy4     = "198.18.0.20"
	proxyPort  = "3128"
)

// A network describes what is between a peer and the server.
type network struct {
	name    string
	v4, v6  bool
	routers []string // source NAT of each router from the peer to the internet
	filter  string   // nftables rules for both directions; everything else is dropped
	loss    int      // percent of packets, in each direction
	proxy   bool     // HTTP requests go through the proxy, with CONNECT
}

const (
	keepsPorts = "masquerade"
	symmetric  = "masquerade random"
)

// networks lists all networks, in the order of the table.
var networks = []network{
	{name: "open", v4: true, v6: true},
	{name: "IPv4 only", v4: true},
	{name: "IPv6 only", v6: true},
	{name: "NAT that keeps ports", v4: true, routers: []string{keepsPorts}},
	{name: "symmetric NAT", v4: true, routers: []string{symmetric}},
	{name: "double NAT", v4: true, routers: []string{keepsPorts, keepsPorts}},
	{name: "UDP blocked", v4: true, v6: true, filter: "meta l4proto tcp accept"},
	{name: "only TCP 443", v4: true, v6: true, filter: "tcp dport 443 accept; tcp sport 443 accept"},
	{name: "only an HTTP proxy", v4: true, filter: "ip daddr " + proxy4 + " tcp dport " + proxyPort + " accept; ip saddr " + proxy4 + " tcp sport " + proxyPort + " accept", proxy: true},
	{name: "5 % loss", v4: true, v6: true, loss: 5},
}

// A lab is an internet made of network namespaces: a router in the middle, the server,
// the proxy, and a site per peer. It cleans up after itself.
type lab struct {
	testing.TB
	prefix string // of its namespaces
	sites  *atomic.Int64
}

// of returns the lab for a subtest, whose sites end with the subtest.
func (l *lab) of(tb testing.TB) *lab { return &lab{tb, l.prefix, l.sites} }

// newLab returns a lab. It skips the test where a lab is not possible.
func newLab(tb testing.TB) *lab {
	tb.Helper()
	skip := func(why string) {
		fmt.Println("matrix: skipped:", why) // go test does not print why a test was skipped
		tb.Skip(why)
	}
	if os.Getuid() != 0 {
		skip("network namespaces need root: run these tests as root")
	}
	for _, program := range []string{"ip", "nft", "sysctl"} {
		if _, err := exec.LookPath(program); err != nil {
			skip(program + " is missing: install iproute2, nftables and procps")
		}
	}
	l := &lab{TB: tb, prefix: fmt.Sprintf("inbox%d-", os.Getpid()), sites: new(atomic.Int64)}
	if err := l.try("", "ip", "netns", "add", l.prefix+"probe"); err != nil {
		skip("this machine cannot create network namespaces: " + err.Error())
	}
	l.run("", "ip", "netns", "del", l.prefix+"probe")
	l.namespace("net")
	l.run("net", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	l.services()
	return l
}

// services creates the namespaces of the server and the proxy, on one segment.
func (l *lab) services() {
	l.run("net", "ip", "link", "add", "services", "type", "bridge")
	l.address("net", "services", "198.18.0.1/24", "2001:db8:0::1/64")
	for name, addresses := range map[string][]string{
		"server": {server4 + "/24", server6 + "/64"},
		"proxy":  {proxy4 + "/24"},
	} {
		l.namespace(name)
		l.link("net", "to-"+name, name, "eth0")
		l.run("net", "ip", "link", "set", "to-"+name, "master", "services", "up")
		l.address(name, "eth0", addresses...)
		l.run(name, "ip", "route", "add", "default", "via", "198.18.0.1")
	}
	l.run("server", "ip", "-6", "route", "add", "default", "via", "2001:db8:0::1")
}

// site adds a network for a peer and returns the peer's namespace.
func (l *lab) site(n network) (namespace string) {
	l.Helper()
	id := int(l.sites.Add(1)) // at most 254
	outer, outerLink := "net", fmt.Sprintf("site%d", id)
	gateway4, gateway6 := fmt.Sprintf("198.18.%d.1", id), fmt.Sprintf("2001:db8:%x::1", id)
	peer4, peer6 := fmt.Sprintf("198.18.%d.2", id), fmt.Sprintf("2001:db8:%x::2", id)
	for i := range n.routers {
		// Routers are created from the internet inwards, but n.routers starts at the
		// peer.
		what := n.routers[len(n.routers)-1-i]
		router := fmt.Sprintf("r%d-%d", id, i)
		l.namespace(router)
		l.link(outer, outerLink, router, "wan")
		l.address(outer, outerLink, gateway4+"/24")
		l.address(router, "wan", peer4+"/24")
		l.run(router, "ip", "route", "add", "default", "via", gateway4)
		l.run(router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
		l.nft(router, "table ip nat {\nchain out {\ntype nat hook postrouting priority 100\noifname wan "+what+"\n}\n}\n"+
			"table ip firewall {\nchain through {\ntype filter hook forward priority 0; policy drop\n"+
			"iifname lan accept\nct state established,related accept\n}\n"+
			// Drop unexpected packets without a trace. Otherwise they would occupy the
			// port that the NAT should keep.
			"chain in {\ntype filter hook input priority 0\niifname wan ct state new drop\n}\n}\n")
		outer, outerLink = router, "lan"
		lan := fmt.Sprintf("10.%d.%d", id, i)
		gateway4, peer4 = lan+".1", lan+".2"
	}
	namespace = fmt.Sprintf("p%d", id)
	l.namespace(namespace)
	l.link(outer, outerLink, namespace, "eth0")
	if n.v4 {
		l.address(outer, outerLink, gateway4+"/24")
		l.address(namespace, "eth0", peer4+"/24")
		l.run(namespace, "ip", "route", "add", "default", "via", gateway4)
	}
	if n.v6 {
		l.address(outer, outerLink, gateway6+"/64")
		l.address(namespace, "eth0", peer6+"/64")
		l.run(namespace, "ip", "-6", "route", "add", "default", "via", gateway6)
	}
	l.filter(namespace, n)
	return namespace
}

func (l *lab) filter(namespace string, n network) {
	var rules []string
	if n.loss > 0 {
		rules = append(rules, fmt.Sprintf("numgen random mod 100 < %d drop", n.loss))
	}
	if n.filter != "" {
		rules = append(rules, "meta l4proto ipv6-icmp accept") // required for neighbour discovery
		rules = append(rules, strings.Split(n.filter, "; ")...)
		rules = append(rules, "drop")
	}
	if len(rules) == 0 {
		return
	}
	all := strings.Join(rules, "\n")
	l.nft(namespace, "table inet site {\n"+
		"chain in {\ntype filter hook input priority 0\niifname lo accept\n"+all+"\n}\n"+
		"chain out {\ntype filter hook output priority 0\noifname lo accept\n"+all+"\n}\n}\n")
}

// namespace creates a namespace in which the server's name resolves.
func (l *lab) namespace(name string) {
	l.Helper()
	full := l.prefix + name
	etc := "/etc/netns/" + full
	l.Cleanup(func() {
		l.try("", "ip", "netns", "del", full)
		os.RemoveAll(etc)
		os.Remove("/etc/netns") // if it is empty
	}) // if it is empty
	l.run("", "ip", "netns", "add", full)
	// Make addresses usable immediately, without duplicate address detection.
	l.run(name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.disable_ipv6=0")
	l.run(name, "ip", "link", "set", "lo", "up")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		l.Fatal(err)
	}
	for file, text := range map[string]string{
		"hosts": "127.0.0.1 localhost\n" + server4 + " " + serverName + "\n" + server6 + " " + serverName + "\n",
		// Queries for other names fail immediately.
		"resolv.conf": "nameserver 127.0.0.1\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, file), []byte(text), 0o644); err != nil {
			l.Fatal(err)
		}
	}
}

// link connects two namespaces.
func (l *lab) link(a, nameA, b, nameB string) {
	l.Helper()
	l.run(a, "ip", "link", "add", nameA, "type", "veth", "peer", "name", nameB, "netns", l.prefix+b)
	l.run(a, "ip", "link", "set", nameA, "up")
	l.run(b, "ip", "link", "set", nameB, "up")
}

func (l *lab) address(namespace, link string, addresses ...string) {
	l.Helper()
	for _, a := range addresses {
		arguments := []string{"address", "add", a, "dev", link}
		if strings.Contains(a, ":") {
			arguments = append(arguments, "nodad")
		}
		l.run(namespace, "ip", arguments...)
	}
	l.run(namespace, "ip", "link", "set", link, "up")
}

func (l *lab) nft(namespace, rules string) {
	l.Helper()
	c := l.command(namespace, "nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		l.Fatalf("nft: %v\n%s\n%s", err, out, rules)
	}
}

// command returns a command that runs in a namespace, or in the test's own if namespace
// is empty.
func (l *lab) command(namespace, program string, arguments ...string) *exec.Cmd {
	if namespace == "" {
		return exec.Command(program, arguments...)
	}
	return exec.Command("ip", append([]string{"netns", "exec", l.prefix + namespace, program}, arguments...)...)
}

func (l *lab) try(namespace, program string, arguments ...string) error {
	out, err := l.command(namespace, program, arguments...).CombinedOutput()
	if err != nil {
		return errors.New(program + " " + strings.Join(arguments, " ") + ": " + err.Error() + ": " + string(bytes.TrimSpace(out)))
	}
	return nil
}

func (l *lab) run(namespace, program string, arguments ...string) {
	l.Helper()
	if err := l.try(namespace, program, arguments...); err != nil {
		l.Fatal(err)
	}
}
