package main

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrived []int
		want    tally
	}{
		{"all, in order", []int{0, 1, 2, 3}, tally{}},
		{"none", nil, tally{lost: 4}},
		{"one lost", []int{0, 1, 3}, tally{lost: 1}},
		{"one late", []int{0, 2, 1, 3}, tally{disordered: 1}},
		{"one twice", []int{0, 1, 1, 2, 3}, tally{duplicated: 1}},
		{"someone else's", []int{0, 1, 2, 3, 4, -1}, tally{foreign: 2}},
		{"late and twice", []int{3, 0, 0, 1, 2}, tally{disordered: 3, duplicated: 1}},
	} {
		l := newLedger(4)
		for _, i := range c.arrived {
			l.got(i)
		}
		var sum tally
		sum.add(l)
		if sum != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, sum, c.want)
		}
		if l.complete() != (c.want.lost == 0) {
			t.Errorf("%s: complete is %v", c.name, l.complete())
		}
	}
}

func TestBlame(t *testing.T) {
	zero := time.Now()
	at := func(from, to int) span {
		return span{zero.Add(time.Duration(from) * time.Millisecond), zero.Add(time.Duration(to) * time.Millisecond)}
	}
	waits := []span{at(0, 10), at(100, 108), at(200, 220)}
	for _, c := range []struct {
		name    string
		witness []span
		own     int // milliseconds
		slow    int
	}{
		{"no witness", nil, 20, 3},
		{"saw all", []span{at(0, 300)}, 0, 0},
		{"saw parts, twice", []span{at(205, 215), at(210, 216), at(90, 105)}, 10, 2},
		{"saw others", []span{at(20, 90)}, 20, 3},
	} {
		p := blame(waits, c.witness)
		if p.longest != 20*time.Millisecond || p.own != time.Duration(c.own)*time.Millisecond || p.slow != c.slow {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

func TestFigures(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1.254: "1.25", 12.34: "12.3", 300000: "300,000", 999: "999", 1234.5: "1,234", -4321: "-4,321"} {
		if got := plain(v); got != want {
			t.Errorf("%v is formatted as %q, want %q", v, got, want)
		}
	}
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Errorf("the median of three is %v", m)
	}
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Errorf("the median of four is %v", m)
	}
	b := make([]byte, 8)
	if digits(b, 1234); string(b) != "00001234" || number(b) != 1234 || number([]byte("12x")) != -1 {
		t.Errorf("1234 is formatted as %s and parsed as %d", b, number(b))
	}
	if s := text("label ", 300); len(s) != 300 {
		t.Errorf("a text has %d bytes", len(s))
	}
}

// The process clock agrees with the ticks in /proc.
func TestCPUOf(t *testing.T) {
	for begin := time.Now(); time.Since(begin) < 100*time.Millisecond; {
	}
	ticks, err := cpuInTicks(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	clock, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if d := clock - ticks; d < -30*time.Millisecond || d > 60*time.Millisecond {
		t.Errorf("the clock has %v, /proc has %v", clock, ticks)
	}
}

// A short run of the ledger over every transport. "make soak" runs a long one.
func TestEveryWay(t *testing.T) {
	e := &env{ctx: t.Context(), options: options{Source: ".."}}
	defer func() { os.RemoveAll(e.temp) }()
	c := &ledgerCommand{Messages: 2000, Store: []string{"memory"}, Within: 2 * time.Minute}
	if err := errors.Join(c.Run(e), e.report.verdict()); err != nil {
		e.report.print(os.Stderr)
		t.Error(err)
	}
}
