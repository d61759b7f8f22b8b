package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"inbox/internal/check"
)

// setupCommand is "inbox setup": it turns an installed package into a public server.
type setupCommand struct {
	Name   string        `arg:"" name:"NAME" help:"Name of the server, as in signal.example.com."`
	Set    []string      `env:"-" sep:"none" placeholder:"SETTING=VALUE" help:"Add another setting to the file, as in --set max-memory=512MiB. Repeatable."`
	Config string        `env:"-" default:"/etc/inbox/inbox.yaml" placeholder:"FILE" help:"Settings of the service."`
	Wait   time.Duration `env:"-" default:"2m" help:"How long to wait for the certificate."`
	Force  bool          `env:"-" help:"Continue even if DNS points elsewhere or a port is in use."`
}

func (*setupCommand) Help() string {
	return `Check that the name leads to this machine and that the ports are free, write the name into the settings, start the service, wait for the certificate, and run 'inbox check'.

  sudo inbox setup signal.example.com
  sudo inbox setup signal.example.com --set tls-email=you@example.com

Run it again to change the name or a setting, or after fixing a problem that it reports.

Exit codes:

  0    the server is ready
  1    a step failed: the last line tells how to continue
  2    the command line or the settings are invalid
  7    something private is open to strangers
  130  interrupted`
}

// unit is the package's service.
const unit = "inbox.service"

// Run sets up the server and prints a line for each step.
func (c *setupCommand) Run(ctx context.Context, s streams) error {
	say := func(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }
	if err := c.checkMachine(ctx); err != nil {
		return err
	}
	content, serve, err := c.settings(ctx)
	if err != nil {
		return usageError{err}
	}
	note, err := checkName(ctx, net.DefaultResolver, c.Name, publicAddresses())
	switch {
	case err != nil && !c.Force:
		return err
	case err != nil:
		say("DNS: %v. Continuing because of --force.", err)
	default:
		say("DNS: %s.", note)
	}
	if exec.CommandContext(ctx, "systemctl", "is-active", "--quiet", unit).Run() == nil {
		say("Ports: the service is running, so they are not checked.")
	} else if err := serve.checkPorts(ctx); err != nil && !c.Force {
		return err
	} else if err != nil {
		say("Ports: %v. Continuing because of --force.", err)
	} else {
		say("Ports: %s are free.", strings.Join(serve.publicPorts(), ", "))
	}
	changed, err := replaceFile(c.Config, content)
	if err != nil {
		return fmt.Errorf("cannot write the settings: %w", err)
	}
	if changed {
		say("Settings: %s now has the name %s.", c.Config, c.Name)
	} else {
		say("Settings: %s already has the name %s.", c.Config, c.Name)
	}
	for _, args := range [][]string{{"enable", "--quiet", unit}, {"restart", unit}} {
		if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
			return c.startError(ctx, args[0], err, out)
		}
	}
	say("Service: %s is running, and starts with the machine.", unit)
	trusted, err := c.awaitCertificate(ctx, serve)
	if err != nil {
		return err
	}
	if trusted {
		say("Certificate: %s has one that browsers accept.", c.Name)
	} else {
		say("Certificate: %s has one from an authority that this machine does not trust (tls-directory in %s).", c.Name, c.Config)
	}
	url := "https://" + c.Name + serve.portOfURL() + serve.basePath()
	say("\nChecking %s from this machine:", url)
	err = (&checkCommand{URL: url, Insecure: !trusted}).Run(ctx, s)
	say("\nOpen these ports in the firewalls of this machine and of your provider: %s.", strings.Join(serve.publicPorts(), ", "))
	for _, line := range firewallCommands(serve.publicPorts(), onPath) {
		say("  %s", line)
	}
	if errors.Is(err, errCheckFailed) {
		return fmt.Errorf("the server runs, but a check failed on this machine: fix the problems marked %q and run this again", check.Failed)
	}
	if err != nil {
		return err
	}
	say("Then check it from another network: inbox check %s\n\nThe server is ready. Open the call page: %scall/", url, url)
	return nil
}

// checkMachine fails on a machine without the service.
func (c *setupCommand) checkMachine(ctx context.Context) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return errors.New("this machine does not run systemd: start the server yourself, as in inbox --config inbox.yaml, or use deploy/single/compose.yaml")
	}
	if os.Geteuid() != 0 {
		return errors.New("setup changes the settings of this machine: run it with sudo")
	}
	if err := exec.CommandContext(ctx, "systemctl", "cat", unit).Run(); err != nil {
		return fmt.Errorf("there is no service %s: install the package of inbox first", unit)
	}
	return nil
}

// settings returns the settings file with the name and the settings of --set, and the
// server that it describes.
func (c *setupCommand) settings(ctx context.Context) ([]byte, *serveCommand, error) {
	content, err := readUpTo(ctx, c.Config, maxConfig)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	set := [][2]string{{"tls", "acme"}, {"tls-domain", c.Name}}
	for _, s := range c.Set {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, nil, fmt.Errorf("--set %q: want SETTING=VALUE, as in max-memory=512MiB", name)
		}
		set = append(set, [2]string{name, value})
	}
	content, serve, err := c.changed(content, set)
	if err != nil {
		return nil, nil, err
	}
	// The default is too much for a small machine, where other parts of the program need
	// memory too.
	if half := size(available()/2) &^ (1<<20 - 1); serve.Store == inMemory && serve.MaxMemory > half && half > 0 {
		return c.changed(content, [][2]string{{"max-memory", half.String()}})
	}
	return content, serve, nil
}

// changed returns the settings with some of them changed. It fails if the result is
// invalid.
func (c *setupCommand) changed(content []byte, set [][2]string) ([]byte, *serveCommand, error) {
	var err error
	for _, s := range set {
		if content, err = changeSetting(content, s[0], s[1]); err != nil {
			return nil, nil, fmt.Errorf("%s:%w", c.Config, err)
		}
	}
	dir, err := os.MkdirTemp("", "inbox-setup-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "inbox.yaml")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		return nil, nil, err
	}
	serve, err := parseServe([]string{"--config", name})
	if err != nil {
		return nil, nil, errors.New(strings.ReplaceAll(err.Error(), name, c.Config))
	}
	return content, serve, nil
}

// parseServe returns the server that flags and the environment describe.
func parseServe(args []string) (*serveCommand, error) {
	var of struct {
		Serve serveCommand `cmd:"" default:"withargs"`
	}
	parser, err := kong.New(&of, kong.DefaultEnvars("INBOX"), kong.Exit(func(int) {}))
	if err != nil {
		panic(err) // a struct tag is invalid
	}
	if _, err := parser.Parse(joinNegatives(append([]string{"serve"}, args...))); err != nil {
		return nil, err
	}
	return &of.Serve, nil
}

// startError explains why the service does not start, using its last log line.
func (c *setupCommand) startError(ctx context.Context, step string, err error, out []byte) error {
	why := strings.TrimSpace(string(out))
	if lines := c.journal(ctx); len(lines) > 0 {
		why = lines[len(lines)-1]
	}
	return fmt.Errorf("systemctl %s %s: %w: %s (see also: journalctl -u inbox)", step, unit, err, cmp.Or(why, "no reason given"))
}

// journal returns what the service has logged since its last start.
func (c *setupCommand) journal(ctx context.Context) (lines []string) {
	id, err := exec.CommandContext(ctx, "systemctl", "show", "--property=InvocationID", "--value", unit).Output()
	if err != nil || len(bytes.TrimSpace(id)) == 0 {
		return nil
	}
	out, err := exec.CommandContext(ctx, "journalctl", "--no-pager", "--output=cat", "_SYSTEMD_INVOCATION_ID="+string(bytes.TrimSpace(id))).Output()
	if err != nil {
		return nil
	}
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		lines = append(lines, scan.Text())
	}
	return lines
}

// noCertificate matches the log line that explains why there is no certificate, as text
// or JSON.
var noCertificate = regexp.MustCompile(`msg"?[=:]"no certificate: ((?:[^"\\]|\\.)*)"`)

// awaitCertificate waits until the server has a certificate for its name, and reports
// whether this machine trusts its authority. It stops waiting when the server logs the
// reason for having no certificate.
func (c *setupCommand) awaitCertificate(ctx context.Context, serve *serveCommand) (trusted bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Wait, errNothing)
	defer cancel()
	_, port, _ := net.SplitHostPort(serve.addresses()[0])
	dialer := tls.Dialer{Config: &tls.Config{ServerName: c.Name, InsecureSkipVerify: true}}
	for {
		if conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("localhost", port)); err == nil {
			state := conn.(*tls.Conn).ConnectionState()
			conn.Close()
			others := x509.NewCertPool()
			for _, other := range state.PeerCertificates[1:] {
				others.AddCert(other)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: c.Name, Intermediates: others})
			if err == nil || errors.As(err, new(x509.UnknownAuthorityError)) {
				return err == nil, nil
			}
		}
		for _, line := range c.journal(ctx) {
			if m := noCertificate.FindStringSubmatch(line); m != nil {
				return false, fmt.Errorf("the server runs without a certificate: %s. It retries automatically; after fixing the problem, run this again", m[1])
			}
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errNothing) {
				return false, fmt.Errorf("the server has no certificate after %v: see journalctl -u inbox", c.Wait)
			}
			return false, errInterrupted
		}
	}
}

// portOfURL returns the port in the server's URL, with its colon; empty for 443.
func (c *serveCommand) portOfURL() string {
	_, port, _ := net.SplitHostPort(c.addresses()[0])
	if port == "443" || port == "" {
		return ""
	}
	return ":" + port
}

// replaceFile replaces a file's content atomically and keeps its permissions. It reports
// false if the content is the same.
func replaceFile(name string, content []byte) (changed bool, err error) {
	mode := os.FileMode(0o644)
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, content) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return false, err
	}
	fresh := name + ".new-" + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(fresh, content, mode); err != nil {
		return false, err
	}
	if err := os.Rename(fresh, name); err != nil {
		return false, errors.Join(err, os.Remove(fresh))
	}
	return true, nil
}
