package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
)

// changeSetting returns a configuration file with a changed setting. It replaces the line
// of the setting, or the comment that shows it, or adds a line at the end. Other lines
// are unchanged. Errors start with the line number.
func changeSetting(content []byte, name, value string) ([]byte, error) {
	setting, err := yaml.Marshal(map[string]string{name: value})
	if err != nil {
		return nil, fmt.Errorf("1: %s: %w", name, err)
	}
	line := strings.TrimSuffix(string(setting), "\n")
	mapping, err := parseYAML(content)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSuffix(string(content), "\n")
	lines := strings.Split(text, "\n")
	if text == "" {
		lines = nil
	}
	first, last := -1, -1 // the lines to replace, counted from 0
	for i := 0; i+1 < len(mapping); i += 2 {
		if mapping[i].Value == name {
			if text, err := settingText(mapping[i+1]); err == nil && text == value {
				return content, nil
			}
			first, last = mapping[i].Line-1, lastLine(mapping[i+1])-1
		}
	}
	if first < 0 {
		shown := regexp.MustCompile(`^#\s?` + regexp.QuoteMeta(name) + `:`)
		first = slices.IndexFunc(lines, shown.MatchString)
		last = first
	}
	if first < 0 {
		first, last = len(lines), len(lines)-1
	}
	lines = slices.Replace(lines, first, last+1, line)
	return []byte(strings.Join(lines, "\n") + "\n"), nil
}

// lastLine returns the last line of a value, counted from 1.
func lastLine(value *yaml.Node) int {
	last := value.Line
	for _, element := range value.Content {
		last = max(last, lastLine(element))
	}
	return last
}

// resolver is the part of net.Resolver that finds addresses.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// shared is the address range between providers and their customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// publicAddresses returns this machine's addresses that are reachable from the internet.
func publicAddresses() (all []netip.Addr) {
	for _, text := range machineAddresses() {
		if a, err := netip.ParseAddr(text); err == nil && a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a) {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// checkName describes the addresses of a name. It fails if they do not belong to a
// machine with these public addresses. Behind a router, or in a cloud that translates
// addresses, a machine may have none; then every address is accepted.
func checkName(ctx context.Context, r resolver, name string, own []netip.Addr) (note string, err error) {
	if _, err := netip.ParseAddr(name); err == nil {
		return name + " is an address, and needs no DNS", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := r.LookupNetIP(ctx, "ip", name)
	if e, ok := errors.AsType[*net.DNSError](err); len(found) == 0 && (err == nil || ok && e.IsNotFound) {
		return "", fmt.Errorf("%s has no address: add %s at your DNS provider, wait some minutes, and run this again", name, recordsFor(own))
	}
	if err != nil {
		return "", fmt.Errorf("cannot look up %s: %w: check this machine's DNS, and run this again", name, err)
	}
	unsure := false
	for i, a := range found {
		a = a.Unmap()
		found[i] = a
		sameFamily := slices.ContainsFunc(own, func(o netip.Addr) bool { return o.Is4() == a.Is4() })
		switch {
		case slices.Contains(own, a):
		case !sameFamily && a.Is4():
			unsure = true
		case !sameFamily:
			return "", fmt.Errorf("%s has the IPv6 address %v, and this machine has no public IPv6 address: remove the AAAA record, wait some minutes, and run this again", name, a)
		default:
			return "", fmt.Errorf("%s leads to %v, which is not an address of this machine: change its records to %s, wait some minutes, and run this again (--force, if that address is passed on to this machine)", name, a, recordsFor(own))
		}
	}
	if unsure {
		return fmt.Sprintf("%s leads to %s. This machine is behind a router or a cloud, so the certificate will show whether that is right", name, joinAddresses(found)), nil
	}
	return fmt.Sprintf("%s leads to %s, this machine", name, joinAddresses(found)), nil
}

func joinAddresses(all []netip.Addr) string {
	var texts []string
	for _, a := range all {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " and ")
}

// recordsFor lists the DNS records that a machine needs.
func recordsFor(own []netip.Addr) string {
	var records []string
	for _, a := range own {
		kind := "AAAA"
		if a.Is4() {
			kind = "A"
		}
		records = append(records, kind+" "+a.String())
	}
	if len(records) == 0 {
		return "an A record with the public address of this machine"
	}
	return strings.Join(records, " and ")
}

// portUse is an address on which the server listens.
type portUse struct{ network, address string }

// portUses returns the addresses that must be reachable from the internet.
func (c *serveCommand) portUses() (all []portUse) {
	for _, address := range c.addresses() {
		if _, _, err := net.SplitHostPort(address); err == nil {
			all = append(all, portUse{"tcp", address})
		}
	}
	if at, _ := c.httpListen(); at != "" {
		all = append(all, portUse{"tcp", at})
	}
	if c.Turn != "off" {
		all = append(all, portUse{"udp", c.TurnListen}, portUse{"tcp", c.TurnListen})
	}
	return all
}

// publicPorts returns the ports that must be reachable from the internet, as in 443/tcp.
func (c *serveCommand) publicPorts() (all []string) {
	for _, use := range c.portUses() {
		_, port, _ := net.SplitHostPort(use.address)
		all = append(all, port+"/"+use.network)
	}
	if c.Turn == "open" {
		all = append(all, fmt.Sprint(c.TurnPorts)+"/udp")
	}
	return all
}

// checkPorts fails if another program uses one of the ports, and names the program.
func (c *serveCommand) checkPorts(ctx context.Context) error {
	for _, use := range c.portUses() {
		var err error
		var closer interface{ Close() error }
		if use.network == "udp" {
			closer, err = new(net.ListenConfig).ListenPacket(ctx, "udp", use.address)
		} else {
			closer, err = new(net.ListenConfig).Listen(ctx, "tcp", use.address)
		}
		if err == nil {
			closer.Close()
			continue
		}
		_, port, _ := net.SplitHostPort(use.address)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("port %s/%s cannot be used: %w", port, use.network, err)
		}
		who := programAt(ctx, use.network, port)
		if who == "" {
			return fmt.Errorf("another program listens on port %s/%s: stop it, and run this again (ss -lnp shows it), or run inbox behind it: docs/operations.md", port, use.network)
		}
		return fmt.Errorf("%s listens on port %s/%s: stop it (systemctl disable --now %s), and run this again, or run inbox behind it: docs/operations.md", who, port, use.network, who)
	}
	return nil
}

// users matches the program's name in the output of ss.
var users = regexp.MustCompile(`users:\(\("([^"]+)"`)

// programAt returns the name of the program that uses a port; empty if unknown.
func programAt(ctx context.Context, network, port string) string {
	out, err := exec.CommandContext(ctx, "ss", "--no-header", "--listening", "--numeric", "--processes", "--"+network, "sport", "=", ":"+port).Output()
	if err != nil {
		return ""
	}
	if m := users.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}

func onPath(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// firewallCommands returns the commands that open ports in this machine's firewalls.
func firewallCommands(ports []string, has func(string) bool) (all []string) {
	if has("ufw") {
		var each []string
		for _, port := range ports {
			each = append(each, "ufw allow "+strings.ReplaceAll(port, "-", ":"))
		}
		all = append(all, strings.Join(each, "; "))
	}
	if has("firewall-cmd") {
		var line strings.Builder
		line.WriteString("firewall-cmd --permanent")
		for _, port := range ports {
			line.WriteString(" --add-port=" + port)
		}
		all = append(all, line.String()+"; firewall-cmd --reload")
	}
	return all
}
