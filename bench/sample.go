package main

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// sample is the result of one round.
type sample struct {
	micros    float64 // CPU of the server per operation
	perSecond float64
	busy      float64 // percent of its core
}

func cost(s sample) float64      { return s.micros }
func perSecond(s sample) float64 { return s.perSecond }
func busy(s sample) float64      { return s.busy }

// measure counts operations for d, after a short warm-up, and the server's CPU time for
// them. It measures for longer if there are few.
func measure(e *env, p *process, done *atomic.Int64, d time.Duration) (sample, error) {
	const enough = 200
	if err := e.sleep(50 * time.Millisecond); err != nil {
		return sample{}, err
	}
	before, err := p.cpu()
	began, n := time.Now(), done.Load()
	for range 20 {
		if err = errors.Join(err, e.sleep(d)); err != nil || done.Load()-n >= enough {
			break
		}
	}
	after, cpuErr := p.cpu()
	took, n := time.Since(began).Seconds(), done.Load()-n
	if err = errors.Join(err, cpuErr); err == nil && n == 0 {
		err = errors.New("nothing was done")
	}
	cpu := after - before
	return sample{micros: micros(cpu, int(n)), perSecond: float64(n) / took, busy: 100 * cpu.Seconds() / took}, err
}

// compared returns the medians of both, and the sorted ratios of their rounds.
func compared(own, base []sample) (o, b float64, ratios []float64) {
	for i := range own {
		ratios = append(ratios, own[i].micros/base[i].micros)
	}
	slices.Sort(ratios)
	return median(each(own, cost)), median(each(base, cost)), ratios
}

// spread describes how much the rounds differ.
func spread(ratios []float64) string {
	return fmt.Sprintf("middle half of the ratios %.2f–%.2f", ratios[len(ratios)/4], ratios[len(ratios)*3/4])
}

func each(s []sample, of func(sample) float64) []float64 {
	v := make([]float64, len(s))
	for i := range s {
		v[i] = of(s[i])
	}
	return v
}

// rates formats the throughput and the CPU load of both servers.
func rates(own, base []sample) string {
	return fmt.Sprintf("%s/s against %s/s, cores %.0f %% and %.0f %% busy", plain(median(each(own, perSecond))),
		plain(median(each(base, perSecond))), median(each(own, busy)), median(each(base, busy)))
}
