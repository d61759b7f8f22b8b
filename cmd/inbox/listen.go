package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// listenFlags configure where the server listens.
type listenFlags struct {
	Listen   []string `sep:"," placeholder:"ADDRESS" group:"Addresses" help:"[HOST]:PORT (port 0 picks a free port), unix:PATH, or systemd for sockets passed by systemd. Repeatable. Default: :$$PORT if set, else :443 with --tls acme, else :3000."`
	UnixMode mode     `default:"0660" group:"Addresses" help:"Permissions of the Unix sockets of --listen. Connecting requires write permission."`
}

const (
	defaultPort = "3000"

	unixPrefix  = "unix:"
	fromSystemd = "systemd"
	// maxUnixPath is the maximum length of a socket's path, in bytes (unix(7)).
	maxUnixPath = 107
)

// addresses returns where to listen. Hosting platforms set PORT. ACME authorities connect
// to port 443.
func (c *serveCommand) addresses() []string {
	if len(c.Listen) > 0 {
		return c.Listen
	}
	if port := os.Getenv("PORT"); port != "" {
		return []string{":" + port}
	}
	if c.TLS == "acme" {
		return []string{":443"}
	}
	return []string{":" + defaultPort}
}

// checkListen rejects invalid addresses.
func (c *serveCommand) checkListen() error {
	if port := os.Getenv("PORT"); port != "" && len(c.Listen) == 0 {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("the environment has PORT=%q, want a number from 0 to 65535 (or set --listen)", port)
		}
	}
	for i, address := range c.addresses() {
		path, local := strings.CutPrefix(address, unixPrefix)
		_, port, _ := net.SplitHostPort(address)
		switch {
		case slices.Contains(c.Listen[:min(i, len(c.Listen))], address) && port != "0":
			return fmt.Errorf("--listen: %s is given twice", address)
		case address == fromSystemd:
			continue
		case local && path == "":
			return errors.New("--listen unix:PATH requires a path, as in unix:/run/inbox/inbox.sock")
		case local && len(path) > maxUnixPath:
			return fmt.Errorf("--listen: the socket's path has %d bytes, want at most %d", len(path), maxUnixPath)
		case local:
			continue
		}
		if _, _, err := splitAddress("--listen", address, "[HOST]:PORT, as in :3000 or 127.0.0.1:3000, unix:PATH, or systemd"); err != nil {
			return err
		}
	}
	return nil
}

// splitAddress parses the HOST:PORT in a flag. form completes the error "must be".
func splitAddress(flag, address, form string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%s must be %s", flag, form)
	}
	if port, err = net.LookupPort("tcp", text); err != nil {
		return "", 0, fmt.Errorf("%s: port %q is not a number from 0 to 65535", flag, text)
	}
	return host, port, nil
}

const (
	// retryInterval is the time between attempts to take an address.
	retryInterval = 100 * time.Millisecond
	// settle is how long to retry if no stopping server is found there. The previous
	// server may have received its signal only just now.
	settle = time.Second
)

// listen takes all addresses. If another inbox server is stopping at one of them, it
// waits up to --drain for that server to finish.
func (c *serveCommand) listen(ctx context.Context, log *slog.Logger) (all []net.Listener, err error) {
	for _, address := range c.addresses() {
		var next []net.Listener
		if address == fromSystemd {
			next, err = passed()
		} else {
			var ln net.Listener
			ln, err = c.listenAt(ctx, log, address)
			next = []net.Listener{ln}
		}
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, next...)
	}
	return all, nil
}

func closeAll(all []net.Listener) {
	for _, ln := range all {
		ln.Close()
	}
}

// passed returns the sockets passed by systemd (sd_listen_fds(3)).
func passed() (all []net.Listener, err error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, errors.New("cannot listen: systemd passed no sockets: --listen systemd requires a started .socket unit (LISTEN_FDS, LISTEN_PID)")
	}
	for _, f := range files {
		ln, e := net.FileListener(f)
		f.Close()
		if e != nil {
			err = errors.Join(err, fmt.Errorf("cannot listen: %s, passed by systemd, does not accept connections (want ListenStream=): %w", f.Name(), e))
			continue
		}
		all = append(all, ln)
	}
	if err != nil {
		closeAll(all)
	}
	return all, err
}

func (c *serveCommand) listenAt(ctx context.Context, log *slog.Logger, address string) (net.Listener, error) {
	// Every connection has its own timeout, so skip the kernel's keep-alive and its
	// four system calls per connection.
	config := net.ListenConfig{KeepAlive: -1}
	take := func() (net.Listener, error) { return config.Listen(ctx, "tcp", address) }
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		take = func() (net.Listener, error) { return listenUnix(path, os.FileMode(c.UnixMode)) }
	}
	last, waits := time.Now().Add(settle), false
	for {
		ln, err := take()
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			if err != nil {
				err = fmt.Errorf("cannot listen: %w", withHint(err))
			}
			return ln, err
		}
		if !waits && c.isDraining(ctx, address) {
			waits, last = true, time.Now().Add(c.Drain+settle)
			log.Info("waiting for the previous server to stop", "listen", address, "at_most", c.Drain+settle)
		}
		if !pause(ctx, last) {
			if ctx.Err() != nil {
				return nil, errInterrupted
			}
			return nil, fmt.Errorf("cannot listen: %s: address already in use (stop the program that listens there, or change --listen)", address)
		}
	}
}

// pause waits for retryInterval. It reports false if last has passed or ctx has ended.
func pause(ctx context.Context, last time.Time) bool {
	if time.Now().After(last) {
		return false
	}
	select {
	case <-time.After(retryInterval):
		return true
	case <-ctx.Done():
		return false
	}
}

// isDraining reports whether an inbox server at one of our addresses is stopping.
func (c *serveCommand) isDraining(ctx context.Context, address string) bool {
	status, word, err := c.readiness(ctx, address)
	return err == nil && status == http.StatusServiceUnavailable && word == "draining"
}

// notify reports a state to systemd, for services with Type=notify.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot report the state to systemd", "state", state, "error", err)
	}
}

// announce logs the addresses to open in a browser.
func (c *serveCommand) announce(log *slog.Logger, all []net.Listener) {
	store, _, _ := strings.Cut(c.Store, ":") // without a password
	log.Info("inbox", "version", version(), "store", store)
	scheme, remote := "http", false
	if c.TLS != "off" {
		scheme = "https"
	}
	for _, ln := range all {
		if ln.Addr().Network() == "unix" {
			log.Info("listening", "unix", ln.Addr().String())
			continue
		}
		host, port, _ := net.SplitHostPort(ln.Addr().String())
		hosts := []string{host}
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			hosts = append([]string{"localhost"}, machineAddresses()...)
		}
		if c.TLS == "acme" {
			hosts = c.TLSDomain
		}
		for _, h := range hosts {
			at := net.JoinHostPort(h, port)
			if c.TLS != "off" {
				at = strings.TrimSuffix(at, ":443")
			}
			log.Info("listening", "url", scheme+"://"+at+c.basePath())
		}
		remote = remote || len(hosts) > 1
	}
	if c.TLS == "off" && remote {
		log.Info("browsers allow the camera only on localhost and over https: for other devices use --tls self-signed")
	}
}
