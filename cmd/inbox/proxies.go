package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"inbox/internal/clientaddr"
	"inbox/internal/server"
)

// proxyFlags select the proxies that may report a client's address.
type proxyFlags struct {
	TrustedProxy    []string `sep:"," placeholder:"CIDR" group:"Addresses" help:"Proxies that may report a client's address: a network, as in 10.0.0.0/8, an address, or unix for Unix sockets. Repeatable."`
	ForwardedHeader string   `default:"X-Forwarded-For" enum:"X-Forwarded-For,Forwarded" group:"Addresses" help:"Header in which trusted proxies pass the client's address: X-Forwarded-For or Forwarded (RFC 7239)."`
	ProxyProtocol   bool     `group:"Addresses" help:"Trusted proxies start each connection with the PROXY protocol, version 2."`
}

// proxies returns the configuration, or the mistake in the flags.
func (c *proxyFlags) proxies() (server.Proxies, error) {
	trusted, err := clientaddr.ParseTrusted(c.TrustedProxy)
	switch {
	case err != nil:
		return server.Proxies{}, fmt.Errorf("--trusted-proxy: %w", err)
	case !trusted.Any() && c.ProxyProtocol:
		return server.Proxies{}, errors.New("--proxy-protocol requires --trusted-proxy: only those proxies may use it")
	case !trusted.Any() && c.ForwardedHeader != string(clientaddr.XForwardedFor):
		return server.Proxies{}, errors.New("--forwarded-header requires --trusted-proxy: only those proxies may send it")
	}
	return server.Proxies{Trusted: trusted, Header: clientaddr.Header(c.ForwardedHeader), Protocol: c.ProxyProtocol}, nil
}

func (c *proxyFlags) checkProxies() error {
	_, err := c.proxies()
	return err
}

// warnProxies logs a warning if every client may claim any address.
func (c *proxyFlags) warnProxies(log *slog.Logger) {
	p, _ := c.proxies() // checked by Validate
	if slices.ContainsFunc(p.Trusted.Networks, func(n netip.Prefix) bool { return n.Bits() == 0 }) {
		log.Warn("--trusted-proxy trusts every address: a client that reaches this server directly can claim any address and evade all limits per address")
	}
}
