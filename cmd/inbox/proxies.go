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

// proxyFlags say which proxies may tell the address of a client.
type proxyFlags struct {
	TrustedProxy    []string `sep:"," placeholder:"CIDR" group:"Addresses" help:"Proxies that may tell the server a client's address: a network, as in 10.0.0.0/8, an address, or unix for the peers on Unix sockets. Repeatable."`
	ForwardedHeader string   `default:"X-Forwarded-For" enum:"X-Forwarded-For,Forwarded" group:"Addresses" help:"The header in which trusted proxies pass the client's address on: X-Forwarded-For or Forwarded (RFC 7239)."`
	ProxyProtocol   bool     `group:"Addresses" help:"Trusted proxies begin each connection with the PROXY protocol, version 2."`
}

// proxies returns what the flags say, or the mistake in them.
func (c *proxyFlags) proxies() (server.Proxies, error) {
	trusted, err := clientaddr.ParseTrusted(c.TrustedProxy)
	switch {
	case err != nil:
		return server.Proxies{}, fmt.Errorf("--trusted-proxy: %w", err)
	case !trusted.Any() && c.ProxyProtocol:
		return server.Proxies{}, errors.New("--proxy-protocol needs --trusted-proxy: it is accepted from those proxies alone")
	case !trusted.Any() && c.ForwardedHeader != string(clientaddr.XForwardedFor):
		return server.Proxies{}, errors.New("--forwarded-header needs --trusted-proxy: it is read from those proxies alone")
	}
	return server.Proxies{Trusted: trusted, Header: clientaddr.Header(c.ForwardedHeader), Protocol: c.ProxyProtocol}, nil
}

func (c *proxyFlags) checkProxies() error {
	_, err := c.proxies()
	return err
}

// warnProxies logs that anybody can pretend to be anybody.
func (c *proxyFlags) warnProxies(log *slog.Logger) {
	p, _ := c.proxies() // which Validate has checked
	if slices.ContainsFunc(p.Trusted.Networks, func(n netip.Prefix) bool { return n.Bits() == 0 }) {
		log.Warn("--trusted-proxy trusts every address: a client that reaches this server directly can claim any, and no limit per address holds")
	}
}
