// Package storetest says, as tests, what every [inbox.Store] must do.
//
// The test of a store is one call of [Run]. The cases know a store only by its
// methods, and do each operation at another of the instances that share the
// inboxes, so that a store of several processes is proven from all of them.
package storetest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
)

// Config says how to come by a store and what to expect of it.
type Config struct {
	// Open returns one or more stores that share the same inboxes, of which
	// there are none yet. What it starts ends with t.Cleanup.
	//
	// Each operation goes to the next of the stores, but a receiver stays where
	// it was first seen, as a connection does.
	Open func(t T, l inbox.Limits) []inbox.Store

	// Bubble runs each case inside [testing/synctest], where time passes only
	// while nobody works. Then an inbox has to expire at the very nanosecond.
	// Otherwise time really passes, and a case looks TTL/4 before an expiry and
	// TTL/10 after it. One that came too late, and fails, is tried again with more
	// time.
	Bubble bool

	// TTL is how long inboxes live where a case waits for that. The default is a
	// minute in a bubble, else a second, of which the store should need no more
	// than a hundredth for an operation.
	TTL time.Duration

	// Inboxes says that the store keeps Limits.Inboxes.
	Inboxes bool

	// Takes says that Take takes: a store that does not returns nil.
	Takes bool
}

// T is what Open may use of a test: of a *testing.T, or of one random walk.
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
	limits inbox.Limits // with cfg.TTL in place of a zero TTL
	timed  bool         // it sees inboxes expire, or looks that are due to that
	run    func(h *harness)
}

// Run proves a store. The cases of a store that needs real time run in parallel
// and mostly sleep: -parallel 50 makes that short.
//
// Random walks are compared with a model, and -rapid.checks says how many. Where
// time really passes each takes seconds, and so does each attempt to find a
// shorter one that fails: there a TestMain should set -rapid.checks to a few,
// and -rapid.shrinktime to 0, before the command line is read. These flags are
// of the whole process, so nothing here changes them.
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
	if !cfg.Bubble {
		t.Parallel()
		if failure := inRealTime(t, cfg, c); failure != "" {
			t.Error(failure)
		}
		return
	}
	synctest.Test(t, func(t *testing.T) { c.run(newHarness(t, cfg, c.limits)) })
}
