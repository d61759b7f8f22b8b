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

// watchFlags configure what operators can observe.
type watchFlags struct {
	MetricsListen string `placeholder:"ADDRESS" group:"Watching" help:"Serve Prometheus metrics at /metrics and a dashboard at /, as in 127.0.0.1:9600. There is no password: use an address that only you can reach."`
	Pprof         bool   `name:"pprof" group:"Watching" help:"Also serve profiles at --metrics-listen, below /debug/pprof/."`
	LogClients    bool   `name:"log-clients" group:"Watching" help:"Log full client addresses, both with refusals and with requests at debug level. By default, only refusals are logged, with their network (/24 or /48)."`
}

// checkMetrics rejects an address for metrics that clients also use.
func (c *serveCommand) checkMetrics() error {
	if c.MetricsListen == "" {
		if c.Pprof {
			return errors.New("--pprof requires --metrics-listen")
		}
		return nil
	}
	host, number, err := splitAddress("--metrics-listen", c.MetricsListen, "[HOST]:PORT, as in 127.0.0.1:9600")
	if err != nil {
		return err
	}
	for _, address := range c.addresses() {
		other, otherPort, err := net.SplitHostPort(address)
		if err != nil || strings.HasPrefix(address, unixPrefix) || number == 0 {
			continue
		}
		if n, err := net.LookupPort("tcp", otherPort); err == nil && n == number && overlap(host, other) {
			return fmt.Errorf("--metrics-listen: port %d is used by clients: choose a separate port, as in 127.0.0.1:9600", number)
		}
	}
	return nil
}

// overlap reports whether listening on the same port at both hosts may collide.
func overlap(a, b string) bool {
	all := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	return all(a) || all(b) || strings.EqualFold(a, b)
}

// watched collects metrics. Fields that are nil are not counted.
type watched struct {
	refusals *meter.Refusals
	listener net.Listener // nil without --metrics-listen

	meter      *meter.Meter
	operations *operations
	roundTrips *meter.Histogram
	families   []metrics.Family
}

// watch listens at --metrics-listen and prepares the counters.
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
		log.Warn("--metrics-listen is not a private address: anyone who reaches it can read the metrics without a password", "address", a)
	}
	w.meter, w.operations, w.roundTrips = new(meter.Meter), new(operations), new(meter.Histogram)
	w.add(w.operations.families()...)
	w.add(trafficFamilies(w.meter, w.refusals)...)
	return w, nil
}

// listenMetrics listens at --metrics-listen. A stopping server serves metrics until its
// end, after it has released its other port, so listenMetrics waits for that.
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
				log.Info("waiting for the previous server to stop", "metrics-listen", c.MetricsListen, "at_most", c.Drain+settle)
			}
			if pause(ctx, last) {
				continue
			}
		}
		return nil, fmt.Errorf("--metrics-listen: cannot listen: %w", err)
	}
}

// isStopping reports whether the metrics at an address are those of a stopping server.
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

// add adds metrics; see families.go. Without --metrics-listen it does nothing.
func (w *watched) add(families ...metrics.Family) {
	if w.listener != nil {
		w.families = append(w.families, families...)
	}
}

// delivery returns the histogram of delivery times for stores, or nil.
func (w *watched) delivery() *meter.Histogram {
	if w.meter == nil {
		return nil
	}
	return &w.meter.Delivery
}

// count wraps a store to count its operations.
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
