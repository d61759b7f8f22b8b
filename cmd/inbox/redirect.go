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

// listenHTTP takes the address for plain HTTP. It returns nil if there is none.
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
		log.Warn("plain HTTP is not redirected, and the authority has port 443 alone: set --http-listen to an address that is free, or to off", "error", withHint(err))
		return nil, nil
	}
	return nil, fmt.Errorf("--http-listen: %w", withHint(err))
}

// withHint says what to do if the system keeps a port back.
func withHint(err error) error {
	if errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("%w: ports below 1024 are for root: give the program CAP_NET_BIND_SERVICE (AmbientCapabilities= of systemd; or setcap), or forward the port", err)
	}
	return err
}

// serveHTTP redirects what comes over plain HTTP, and answers the authority, until close is
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

// toHTTPS redirects people to https, and tells programs that what they sent was readable.
type toHTTPS struct {
	api         string
	http, https int // the ports of this server
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
		status = http.StatusTemporaryRedirect // the next start may be without TLS
	}
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// host is where a client that has asked host for plain HTTP finds https. If it came to
// another port than ours, ports are forwarded, and then port 443 is too.
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
