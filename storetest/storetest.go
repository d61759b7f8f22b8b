// Package storetest specifies, as tests, what every [inbox.Store] must do.
//
// To test a store, call [Run]. The cases use a store only through its methods. They
// spread the operations over all instances that share the inboxes, so they also test a
// store that several processes share.
package storetest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
)

// Config describes how to open a store and what it supports.
type Config struct {
	// Open returns one or more stores that share the same, initially empty, set of
	// inboxes. It registers the end of whatever it starts with t.Cleanup.
	//
	// Operations alternate between the stores, but a receiver stays at its first one, as
	// a connection does.
	Open func(t T, l inbox.Limits) []inbox.Store

	// Bubble runs each case inside [testing/synctest], where time passes only while every
	// goroutine is blocked and inboxes have to expire at the exact nanosecond. Otherwise
	// the cases run in real time and check an inbox TTL/4 before and TTL/10 after its
	// expiry. A case that fails because it ran too slowly is repeated with a longer TTL.
	Bubble bool

	// TTL is the lifetime of inboxes in cases that wait for expiry. The default is a
	// minute in a bubble and a second in real time, where an operation should take at
	// most a hundredth of it.
	TTL time.Duration

	// Inboxes reports that the store enforces Limits.Inboxes.
	Inboxes bool

	// Unattended reports that nothing runs the store in the background, so that members of a
	// room get the event of an expiry only at the next join.
	Unattended bool

	// Takes reports that the store supports Take, rather than returning nil.
	Takes bool
}

// T is the part of a test that Open may use. A *testing.T implements it, and so does a
// random walk.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

type testCase struct {
	name   string
	limits inbox.Limits // a zero TTL means cfg.TTL
	timed  bool         // whether it observes expiries, or looks that prevent one
	run    func(h *harness)

	attended bool // the store has to report an expiry by itself
	bubble   bool // too long for real time
}

// Run tests a store. In real time the cases run in parallel and mostly sleep, so a high
// number for -parallel, such as 50, shortens the test.
//
// Run also compares random walks with a model; -rapid.checks sets their number. In real
// time each walk takes seconds, and so does each attempt to shrink a failing one.
// TestMain should then set -rapid.checks to a small number and -rapid.shrinktime to 0
// before it parses the command line. Run does not change these flags because they are
// global.
func Run(t *testing.T, cfg Config) {
	if cfg.TTL == 0 {
		cfg.TTL = time.Second
		if cfg.Bubble {
			cfg.TTL = time.Minute
		}
	}
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"send", sendCases},
		{"keys", keyCases},
		{"receive", receiveCases},
		{"acknowledge", acknowledgeCases},
		{"expire", expireCases},
		{"close", closeCases},
		{"receiver", receiverCases},
		{"leave", leaveCases},
		{"wait", waitCases},
		{"limits", limitCases},
		{"share", shareCases},
		{"guesses", guessCases},
		{"quota", quotaCases},
		{"rooms", roomCases},
		{"codes", codeCases},
		{"concurrent", concurrentCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) { runCase(t, cfg, c) })
			}
		})
	}
	if cfg.Takes {
		t.Run("take", func(t *testing.T) {
			for _, c := range takeCases {
				t.Run(c.name, func(t *testing.T) { runCase(t, cfg, c) })
			}
		})
	}
	t.Run("model", func(t *testing.T) { walk(t, cfg) })
}

func runCase(t *testing.T, cfg Config, c testCase) {
	if c.limits.Inboxes != 0 && !cfg.Inboxes {
		t.Skip("the store does not limit the number of inboxes")
	}
	if c.attended && cfg.Unattended {
		t.Skip("nothing runs the store in the background")
	}
	if c.bubble && !cfg.Bubble {
		t.Skip("it would take minutes in real time")
	}
	if !cfg.Bubble {
		t.Parallel()
		if failure := inRealTime(t, cfg, c); failure != "" {
			t.Error(failure)
		}
		return
	}
	synctest.Test(t, func(t *testing.T) { c.run(newHarness(t, cfg, c.limits)) })
}
