package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"inbox"
	"inbox/internal/meter"
	"inbox/internal/metrics"
)

// watchFlags are what operators see of a running server.
type watchFlags struct {
	MetricsListen string `placeholder:"ADDRESS" group:"Watching" help:"Serve metrics for Prometheus at /metrics, and a page for people at /, as in 127.0.0.1:9600. It has no password: choose an address that only you reach."`
	Pprof         bool   `name:"pprof" group:"Watching" help:"Serve profiles of the program there too, at /debug/pprof/."`
	LogClients    bool   `name:"log-clients" group:"Watching" help:"Log the full addresses of clients: with refusals, and with each request in debug lines. Without it, the log names networks (/24, /48) with refusals alone."`
}

// checkMetrics refuses to serve metrics where clients ask.
func (c *serveCommand) checkMetrics() error {
	if c.MetricsListen == "" {
		if c.Pprof {
			return errors.New("--pprof goes with --metrics-listen")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(c.MetricsListen)
	if err != nil {
		return errors.New("--metrics-listen is [HOST]:PORT, as in 127.0.0.1:9600")
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		return fmt.Errorf("--metrics-listen: port %q is not a number from 0 to 65535", port)
	}
	for _, address := range c.addresses() {
		other, otherPort, err := net.SplitHostPort(address)
		if err != nil || strings.HasPrefix(address, unixPrefix) || number == 0 {
			continue
		}
		if n, err := net.LookupPort("tcp", otherPort); err == nil && n == number && overlap(host, other) {
			return fmt.Errorf("--metrics-listen: clients use port %d: give metrics a port of their own, as in 127.0.0.1:9600", number)
		}
	}
	return nil
}

// overlap reports whether a port at one host may be the same as at the other.
func overlap(a, b string) bool {
	all := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	return all(a) || all(b) || strings.EqualFold(a, b)
}

// watched counts what the server does. What is nil is not counted.
type watched struct {
	refusals *meter.Refusals
	listener net.Listener // nil: without --metrics-listen

	meter      *meter.Meter
	operations *operations
	roundTrips *meter.Histogram
	families   []metrics.Family
}

// watch takes the address of --metrics-listen and prepares to count.
func (c *serveCommand) watch(ctx context.Context, log *slog.Logger) (*watched, error) {
	w := &watched{refusals: meter.NewRefusals(c.LogClients)}
	if c.MetricsListen == "" {
		return w, nil
	}
	var err error
	if w.listener, err = c.listenMetrics(ctx, log); err != nil {
		return nil, err
	}
	if a, ok := w.listener.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && !a.IP.IsPrivate() {
		log.Warn("--metrics-listen is not a private address: everybody who reaches it reads the metrics, and it has no password", "address", a)
	}
	w.meter, w.operations, w.roundTrips = new(meter.Meter), new(operations), new(meter.Histogram)
	w.add(w.operations.families()...)
	w.add(trafficFamilies(w.meter, w.refusals)...)
	return w, nil
}

// listenMetrics takes the address. A server that is stopping serves its metrics to its
// end, when its other port is free already: listenMetrics waits for it.
func (c *serveCommand) listenMetrics(ctx context.Context, log *slog.Logger) (net.Listener, error) {
	var config net.ListenConfig
	last, waits := time.Now().Add(settle), false
	for {
		ln, err := config.Listen(ctx, "tcp", c.MetricsListen)
		if err == nil {
			return ln, nil
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			if !waits && isStopping(ctx, c.MetricsListen) {
				waits, last = true, time.Now().Add(c.Drain+settle)
				log.Info("waiting for the server at this address, which is stopping", "metrics-listen", c.MetricsListen, "at_most", c.Drain+settle)
			}
			if pause(ctx, last) {
				continue
			}
		}
		return nil, fmt.Errorf("--metrics-listen: cannot listen: %w", err)
	}
}

// isStopping asks whoever listens at an address whether it shows the metrics of a server
// that is stopping.
func isStopping(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	host, port, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/metrics", nil)
	if err != nil {
		return false
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return bytes.Contains(text, []byte("\ninbox_ready 0\n"))
}

// add shows more metrics: each part of the server says which it has (families.go). Without
// --metrics-listen it does nothing.
func (w *watched) add(families ...metrics.Family) {
	if w.listener != nil {
		w.families = append(w.families, families...)
	}
}

// delivery is where stores count the time of delivery.
func (w *watched) delivery() *meter.Histogram {
	if w.meter == nil {
		return nil
	}
	return &w.meter.Delivery
}

// count returns a store whose operations are counted.
func (w *watched) count(s inbox.Store) inbox.Store {
	if w.operations == nil {
		return s
	}
	return countedStore{s, w.operations}
}

// run serves the metrics until ctx ends.
func (w *watched) run(ctx context.Context, pprof bool, log *slog.Logger) {
	if w.listener == nil {
		return
	}
	log.Info("metrics and a page for operators", "at", "http://"+w.listener.Addr().String()+"/")
	metrics.New(metrics.Config{Families: w.families, Version: version(), Pprof: pprof, Log: log}).Run(ctx, w.listener)
}

func (w *watched) close() {
	if w.listener != nil {
		w.listener.Close()
	}
}
