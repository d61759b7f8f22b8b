package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

const (
	// lookAgain is how often a start looks whether the server before it has gone.
	lookAgain = 100 * time.Millisecond
	// settle is how long a start looks for that server at all: it may have been told to
	// stop a moment ago.
	settle = time.Second
)

// listen takes the address. While an inbox server there is stopping, it waits for as
// long as this server would take to stop.
func (c *serveCommand) listen(ctx context.Context, log *slog.Logger) (net.Listener, error) {
	// No connection is ever left without a time limit, so that nobody needs the
	// kernel's keep-alive, and its four calls for each.
	config := net.ListenConfig{KeepAlive: -1}
	last, waits := time.Now().Add(settle), false
	for {
		ln, err := config.Listen(ctx, "tcp", c.Listen)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			if err != nil {
				err = fmt.Errorf("cannot listen: %w", err)
			}
			return ln, err
		}
		if !waits && c.isDraining(ctx) {
			waits, last = true, time.Now().Add(c.Drain+settle)
			log.Info("waiting for the server at this address, which is stopping", "listen", c.Listen, "at_most", c.Drain+settle)
		}
		if !pause(ctx, last) {
			if ctx.Err() != nil {
				return nil, errInterrupted
			}
			return nil, fmt.Errorf("cannot listen: %s: address already in use: stop the program that listens there, or give another --listen", c.Listen)
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

// isDraining asks whoever listens at our address whether it is an inbox server that is
// stopping.
func (c *serveCommand) isDraining(ctx context.Context) bool {
	host, port, _ := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if c.TLS != "off" {
		scheme = "https"
	}
	// One word is read, whoever says it: no certificate has to be right for that.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: settle}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+c.basePath()+"readyz", nil)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	word, _ := io.ReadAll(io.LimitReader(res.Body, 64))
	return res.StatusCode == http.StatusServiceUnavailable && strings.TrimSpace(string(word)) == "draining"
}
