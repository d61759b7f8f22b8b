package redisstore

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
	"inbox/storetest"
)

var testKey = [inbox.PepperSize]byte{1}

// open returns a store that is ready and runs until the test ends.
func open(tb testing.TB, c Config) *Store {
	tb.Helper()
	c.Key = testKey
	if testing.Verbose() {
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := Open(tb.Context(), c)
	for n := 1; err != nil && n < 10; n++ { // retry on an overloaded machine
		tb.Log(err)
		s, err = Open(tb.Context(), c)
	}
	if err != nil {
		tb.Fatal(err)
	}
	inboxtest.Run(tb, s.Run)
	untilReady(tb, s)
	return s
}

func untilReady(tb testing.TB, s *Store) {
	tb.Helper()
	inboxtest.Until(tb, "the store is ready", s.Ready)
}

func TestMain(m *testing.M) {
	// Defaults that the command line overrides: each walk takes seconds.
	for name, value := range map[string]string{"rapid.checks": "4", "rapid.shrinktime": "0s", "rapid.nofailfile": "true"} {
		flag.Set(name, value)
	}
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) { // not set explicitly
		flag.Set("test.parallel", "12") // the tests mostly sleep
	}
	// A closed cluster client may still refresh its topology once, a second later.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),
		// It also closes connections to departed nodes a few seconds later.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
}

var spaces atomic.Uint64

// conform runs the test suite with two stores, whose connections all cases share: each
// case has its own prefix.
func conform(t *testing.T, url string) {
	one, two := open(t, Config{URL: url}), open(t, Config{URL: url})
	t.Run("files", func(t *testing.T) { shareFiles(t, one, two) })
	storetest.Run(t, storetest.Config{TTL: 2 * time.Second, Open: func(t storetest.T, l inbox.Limits) []inbox.Store {
		prefix := fmt.Sprintf("case%d:", spaces.Add(1))
		stores := []inbox.Store{one.at(prefix, l), two.at(prefix, l)}
		ctx, stop := context.WithCancel(t.Context())
		var sweeping sync.WaitGroup
		for _, s := range stores {
			sweeping.Go(func() { s.(*Store).sweepRooms(ctx) })
		}
		t.Cleanup(func() { stop(); sweeping.Wait() })
		return stores
	}})
}

// at returns a store with the same connection but another prefix and other limits.
func (s *Store) at(prefix string, l inbox.Limits) *Store {
	return newStore(s.link, prefix, l)
}

func TestStandalone(t *testing.T) {
	t.Parallel()
	conform(t, "redis://"+redistest.Start(t).Addr)
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	conform(t, redistest.StartSentinel(t).URL())
}

func TestCluster(t *testing.T) {
	t.Parallel()
	conform(t, redistest.StartCluster(t).URL())
}
