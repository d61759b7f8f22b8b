package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"inbox/internal/meter"
)

const (
	// refusalsEvery is the time between summaries of refusals in the log.
	refusalsEvery = time.Minute
	// namedNetworks bounds the networks named in one line.
	namedNetworks = 5
)

// logRefusals summarizes refusals in the log every refusalsEvery until ctx ends: by reason,
// with the networks that were refused most.
func logRefusals(ctx context.Context, r *meter.Refusals, log *slog.Logger) {
	tick := time.NewTicker(refusalsEvery)
	defer tick.Stop()
	s := refusalSummary{refusals: r}
	for {
		select {
		case <-tick.C:
			s.log(log)
		case <-ctx.Done():
			s.log(log)
			return
		}
	}
}

// refusalSummary keeps the counts that were already logged.
type refusalSummary struct {
	refusals *meter.Refusals
	last     [256]uint64 // by reason
}

// log writes a line per reason with refusals since the last call.
func (s *refusalSummary) log(log *slog.Logger) {
	sources := s.refusals.Take()
	for _, why := range meter.Reasons() {
		n := s.refusals.Count(why)
		times := n - s.last[why]
		s.last[why] = n
		if times == 0 || why.Expected() {
			continue
		}
		level := slog.LevelInfo
		if why.IsLimit() {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "refused: "+why.Meaning(),
			"reason", why.String(), "times", times, "from", networks(sources[why], times))
	}
}

// networks lists the networks that were refused most, as in "203.0.113.0/24 (12), others
// (3)".
func networks(sources []meter.Source, times uint64) string {
	var parts []string
	for _, s := range sources[:min(len(sources), namedNetworks)] {
		name := "unknown"
		switch {
		case s.Network.IsSingleIP():
			name = s.Network.Addr().String()
		case s.Network.IsValid():
			name = s.Network.String()
		}
		n := min(s.Count, times)
		times -= n
		parts = append(parts, fmt.Sprintf("%s (%d)", name, n))
	}
	if times > 0 {
		parts = slices.Concat(parts, []string{fmt.Sprintf("others (%d)", times)})
	}
	return strings.Join(parts, ", ")
}
