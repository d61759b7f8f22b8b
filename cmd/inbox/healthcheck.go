package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/pires/go-proxyproto"
)

// healthcheckCommand implements "inbox healthcheck", for containers without a shell.
type healthcheckCommand struct {
	Flags []string `arg:"" optional:"" passthrough:"" help:"Flags of the server. Settings in the environment, such as $$INBOX_LISTEN, need not be repeated."`
}

// Run returns an error unless the server with these settings is ready.
func (h *healthcheckCommand) Run(ctx context.Context) error {
	c, err := parseServe(h.Flags)
	if err != nil {
		return usageError{err}
	}
	i := slices.IndexFunc(c.addresses(), func(a string) bool { return a != fromSystemd })
	if i < 0 {
		return usageError{errors.New("--listen names no address that a healthcheck can connect to")}
	}
	address := c.addresses()[i]
	status, word, err := c.readiness(ctx, address)
	switch {
	case err != nil:
		return fmt.Errorf("the server at %s does not respond: %w", address, err)
	case status != http.StatusOK:
		return fmt.Errorf("the server at %s is not ready: %s (status %d)", address, word, status)
	}
	return nil
}

// readiness queries /readyz of the server at an address of these settings.
func (c *serveCommand) readiness(ctx context.Context, address string) (status int, word string, err error) {
	network, host, port := "tcp", "", ""
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		network, address, host, port = "unix", path, "localhost", "80"
	} else if host, port, err = net.SplitHostPort(address); err != nil {
		return 0, "", err
	} else if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
		address = net.JoinHostPort(host, port)
	}
	transport := &http.Transport{
		// The response is one word and not confidential, so the certificate does not
		// matter.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dialOwn(ctx, network, address) },
	}
	scheme := "http"
	if c.TLS != "off" {
		scheme = "https"
	}
	client := &http.Client{Transport: transport, Timeout: settle}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+c.basePath()+"readyz", nil)
	if err != nil {
		return 0, "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64))
	return res.StatusCode, strings.TrimSpace(string(text)), err
}

// dialOwn connects to a server with these settings. If the server expects the PROXY
// protocol from this machine, the connection starts with a LOCAL header.
func (c *serveCommand) dialOwn(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil || !c.ProxyProtocol {
		return conn, err
	}
	p, err := c.proxies()
	trusted := p.Trusted.Unix
	if tcp, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		trusted = p.Trusted.Has(tcp.AddrPort().Addr())
	}
	if err == nil && trusted {
		_, err = (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}).WriteTo(conn)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
