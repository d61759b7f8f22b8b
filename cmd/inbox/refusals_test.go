package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inbox/internal/meter"
)

// Once a minute, the log summarizes refusals by reason and network.
func TestRefusalsInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		r := meter.NewRefusals(false)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { logRefusals(ctx, r, log); close(done) }()
		minute := func() string {
			time.Sleep(refusalsEvery)
			synctest.Wait()
			defer text.Reset()
			return text.String()
		}
		if got := minute(); got != "" {
			t.Errorf("a minute without refusals logs %s", got)
		}
		for i := range 12 {
			r.Add(meter.AddressRequests, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
		}
		r.Add(meter.AddressRequests, netip.MustParseAddr("2001:db8:1:2::3"))
		r.Add(meter.Unauthorized, netip.Addr{})
		r.Add(meter.NoSuchInbox, netip.Addr{}) // expected: callers retry
		got := minute()
		for _, want := range []string{
			`level=WARN msg="refused: too many requests from one address" reason=address-requests times=13 from="203.0.113.0/24 (12), 2001:db8:1::/48 (1)"`,
			`level=INFO msg="refused: wrong or missing passwords" reason=unauthorized times=1 from="unknown (1)"`,
		} {
			if !strings.Contains(got, want) {
				t.Errorf("the log\n%s lacks\n%s", got, want)
			}
		}
		if n := strings.Count(got, "\n"); n != 2 {
			t.Errorf("%d lines, want 2:\n%s", n, got)
		}
		if got := minute(); got != "" {
			t.Errorf("the next minute repeats %s", got)
		}
		for i := range 100_000 {
			r.Add(meter.AddressInboxes, netip.AddrFrom16([16]byte{0x20, 1, byte(i >> 16), byte(i >> 8), byte(i)}))
		}
		if got := minute(); strings.Count(got, "/48") > namedNetworks || !strings.Contains(got, "times=100000") || len(got) > 1000 {
			t.Errorf("many networks are logged as\n%s", got)
		}
		r.Add(meter.TooLarge, netip.Addr{})
		stop()
		<-done
		if !strings.Contains(text.String(), "too-large") {
			t.Errorf("the last minute is not logged:\n%s", text.String())
		}
	})
}

func TestNetworksOfMany(t *testing.T) {
	var all []meter.Source
	for i := range 7 {
		all = append(all, meter.Source{Network: netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i)), Count: uint64(10 - i)})
	}
	const want = "10.0.0.0/24 (10), 10.0.1.0/24 (9), 10.0.2.0/24 (8), 10.0.3.0/24 (7), 10.0.4.0/24 (6), others (60)"
	if got := networks(all, 100); got != want {
		t.Errorf("the networks are %s, want %s", got, want)
	}
}

// Without --log-clients, no line contains a client's address. With it, debug lines and
// the summary do.
func TestLogClients(t *testing.T) {
	for _, clients := range []bool{false, true} {
		r := serve(t, "--log-level=debug", "--drain=0s", fmt.Sprintf("--log-clients=%v", clients), "--trusted-proxy=127.0.0.1")
		r.requestFrom(t, "198.51.100.77")
		r.end(t)
		log := r.log.String()
		if got := strings.Contains(log, "client=198.51.100.77"); got != clients {
			t.Errorf("--log-clients=%v: the debug line names the client: %v", clients, got)
		}
		if got := strings.Contains(log, `from="198.51.100.77 (1)"`); got != clients {
			t.Errorf("--log-clients=%v: the summary names the client: %v\n%s", clients, got, log)
		}
		if !clients && (strings.Contains(log, "198.51.100.77") || !strings.Contains(log, `from="198.51.100.0/24 (1)"`)) {
			t.Errorf("without --log-clients the log should only name the network:\n%s", log)
		}
	}
}

// requestFrom makes a request without credentials, as a trusted proxy would for a client.
func (r *running) requestFrom(t *testing.T, client string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/inbox", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", client)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}
