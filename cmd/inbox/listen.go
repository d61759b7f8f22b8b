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

// listenFlags say where the server listens.
type listenFlags struct {
	Listen   []string `sep:"," placeholder:"ADDRESS" group:"Addresses" help:"Where to listen: [HOST]:PORT (port 0 takes a free one), unix:PATH, or systemd for the sockets that it passes. Repeatable. Default: :$$PORT if that is set, else :443 with --tls acme, else :3000."`
	UnixMode mode     `default:"0660" group:"Addresses" help:"Permissions of the socket of --listen unix:PATH. Users who may write to it may connect."`
}

const (
	defaultPort = "3000"

	unixPrefix  = "unix:"
	fromSystemd = "systemd"
	// mostUnixPath is how long the path of a socket can be, in bytes (unix(7)).
	mostUnixPath = 107
)

// addresses are where to listen. Platforms that run a program say so by PORT. An authority
// connects to the port of https.
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

// checkListen refuses addresses that no machine has.
func (c *serveCommand) checkListen() error {
	if port := os.Getenv("PORT"); port != "" && len(c.Listen) == 0 {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("PORT is %q in the environment, want a number from 0 to 65535 (or give --listen)", port)
		}
	}
	for i, address := range c.addresses() {
		path, local := strings.CutPrefix(address, unixPrefix)
		_, port, err := net.SplitHostPort(address)
		switch {
		case slices.Contains(c.Listen[:min(i, len(c.Listen))], address) && port != "0":
			return fmt.Errorf("--listen: %s is there twice", address)
		case address == fromSystemd:
			continue
		case local && path == "":
			return errors.New("--listen unix:PATH needs a path, as in unix:/run/inbox/inbox.sock")
		case local && len(path) > mostUnixPath:
			return fmt.Errorf("--listen: the path of a socket is at most %d bytes long, not %d", mostUnixPath, len(path))
		case local:
			continue
		case err != nil:
			return errors.New("--listen is [HOST]:PORT, as in :3000 or 127.0.0.1:3000, unix:PATH, or systemd")
		}
		if _, err := net.LookupPort("tcp", port); err != nil {
			return fmt.Errorf("--listen: port %q is not a number from 0 to 65535", port)
		}
	}
	return nil
}

const (
	// lookAgain is how often a start looks whether the server before it has gone.
	lookAgain = 100 * time.Millisecond
	// settle is how long a start looks for that server at all: it may have been told to
	// stop a moment ago.
	settle = time.Second
)

// listen takes all addresses. While an inbox server at one of them is stopping, it waits
// for as long as this server would take to stop.
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

// passed returns the sockets that systemd listens on for this program (sd_listen_fds(3)).
func passed() (all []net.Listener, err error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, errors.New("cannot listen: systemd has passed no socket: --listen systemd goes with a .socket unit, which has to be started (LISTEN_FDS, LISTEN_PID)")
	}
	for _, f := range files {
		ln, e := net.FileListener(f)
		f.Close()
		if e != nil {
			err = errors.Join(err, fmt.Errorf("cannot listen: %s of systemd is no socket for connections (want ListenStream=): %w", f.Name(), e))
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
	// No connection is ever left without a time limit, so that nobody needs the
	// kernel's keep-alive, and its four calls for each.
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
			log.Info("waiting for the server at this address, which is stopping", "listen", address, "at_most", c.Drain+settle)
		}
		if !pause(ctx, last) {
			if ctx.Err() != nil {
				return nil, errInterrupted
			}
			return nil, fmt.Errorf("cannot listen: %s: address already in use: stop the program that listens there, or give another --listen", address)
		}
	}
}

// pause waits a moment. It reports false when the time is over or ctx has ended.
func pause(ctx context.Context, last time.Time) bool {
	if time.Now().After(last) {
		return false
	}
	select {
	case <-time.After(lookAgain):
		return true
	case <-ctx.Done():
		return false
	}
}

// isDraining reports whether an inbox server that is stopping listens at our address.
func (c *serveCommand) isDraining(ctx context.Context, address string) bool {
	status, word, err := c.readiness(ctx, address)
	return err == nil && status == http.StatusServiceUnavailable && word == "draining"
}

// notify tells systemd the state of a service of Type=notify.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd cannot be told the state of this service", "state", state, "error", err)
	}
}

// announce logs the addresses to open in a browser.
func (c *serveCommand) announce(log *slog.Logger, all []net.Listener) {
	store, _, _ := strings.Cut(c.Store, ":") // without its password
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
		log.Info("browsers give a camera only to localhost and to https: for other devices use --tls self-signed")
	}
}
