package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"inbox/internal/server"
)

// listenHTTP listens at --http-listen. It returns nil if that is off.
func (c *serveCommand) listenHTTP(ctx context.Context, log *slog.Logger) (net.Listener, error) {
	address, optional := c.httpListen()
	if address == "" {
		return nil, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return ln, nil
	case optional:
		log.Warn("plain HTTP is not redirected, and the authority can only use port 443: set --http-listen to a free address, or to off", "error", withHint(err))
		return nil, nil
	}
	return nil, fmt.Errorf("--http-listen: %w", withHint(err))
}

// withHint adds advice if the system denies access to a port.
func withHint(err error) error {
	if errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("%w: ports below 1024 require root: grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in systemd, or setcap), or forward the port", err)
	}
	return err
}

// serveHTTP redirects plain HTTP requests and answers ACME challenges until close is
// called.
func (c *serveCommand) serveHTTP(plain net.Listener, secure []net.Listener, certs *certificates, log *slog.Logger) (close func() error) {
	if plain == nil {
		return func() error { return nil }
	}
	h := &toHTTPS{api: c.basePath() + "inbox", http: plain.Addr().(*net.TCPAddr).Port, https: 443}
	if address := tcpAddress(secure); address != nil {
		h.https = address.Port
	}
	var handler http.Handler = h
	if certs.manager != nil {
		handler = certs.manager.Challenge(h)
	}
	s := server.Plain(handler, log)
	go s.Serve(server.Bounded(plain, log))
	log.Info("redirecting plain HTTP", "listen", plain.Addr().String())
	return s.Close
}

// toHTTPS redirects browsers to https, and warns programs that their request was
// not encrypted.
type toHTTPS struct {
	api         string
	http, https int // ports of this server
}

func (h *toHTTPS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	where := ""
	if r.Host != "" {
		where = secureURL(r, h.host(r.Host))
	}
	text := "This server speaks HTTPS only."
	if where != "" {
		text = "This server speaks HTTPS only: " + where
	}
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	status := http.StatusBadRequest
	if redirects(r, where, h.api) {
		header.Set("Location", where)
		status = http.StatusTemporaryRedirect // temporary, since the server may restart without TLS
	}
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// host returns the host for the https URL of a request for host. If the request used
// another port than ours, ports are forwarded, and so is 443.
func (h *toHTTPS) host(host string) string {
	name, asked, err := net.SplitHostPort(host)
	if err != nil {
		name, asked = host, "80"
	} else if net.ParseIP(name).To4() == nil && net.ParseIP(name) != nil {
		name = "[" + name + "]"
	}
	if h.https == 443 || asked == "80" && h.http != 80 {
		return name
	}
	return name + ":" + strconv.Itoa(h.https)
}
