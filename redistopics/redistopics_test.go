package redistopics

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redislink"
	"inbox/internal/redistest"
	"inbox/topicstest"
)

func TestMain(m *testing.M) {
	// A closed client of a cluster may still read the topology once, a second later. It
	// closes connections to a removed node after some seconds.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
}

// open opens the topics of one server, which run until the test ends.
func open(tb testing.TB, url, prefix string, l inbox.TopicLimits) *Topics {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var link *redislink.Link
	inboxtest.Until(tb, "redis can be reached", func() (ok bool) {
		var err error
		if link, err = redislink.Open(tb.Context(), redislink.Config{URL: url, Prefix: prefix, Log: log}); err != nil {
			tb.Log(err)
		}
		return err == nil
	})
	topics := New(Config{Link: link, Key: [inbox.PepperSize]byte{1}, Limits: l, Log: log})
	inboxtest.Run(tb, func(ctx context.Context) { link.Run(ctx, func(string) {}, func(int) {}) })
	inboxtest.Run(tb, topics.Run)
	inboxtest.Until(tb, "the link is ready", link.Ready)
	return topics
}

var spaces atomic.Uint64

func conform(t *testing.T, url string, servers int) {
	topicstest.Run(t, func(t *testing.T, l inbox.TopicLimits) (all []inbox.Topics) {
		prefix := fmt.Sprintf("case%d:", spaces.Add(1))
		for range servers {
			all = append(all, open(t, url, prefix, l))
		}
		return all
	})
}

func TestStandalone(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	for _, servers := range []int{1, 2} {
		t.Run(fmt.Sprint(servers), func(t *testing.T) { conform(t, redis.URL(), servers) })
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	conform(t, redistest.StartSentinel(t).URL(), 2)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	conform(t, redistest.StartCluster(t).URL(), 2)
}

// After a fault of Redis, publications reach the other server again, and the subscribers
// learn that some may be lost.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) (url string, fail func()){
		"restart": func(t *testing.T) (string, func()) {
			redis := redistest.Start(t)
			return redis.URL(), func() { redis.Kill(); redis.Restart() }
		},
		"sentinel promotes a replica": func(t *testing.T) (string, func()) {
			group := redistest.StartSentinel(t)
			return group.URL(), group.Kill
		},
		"a cluster promotes a replica": func(t *testing.T) (string, func()) {
			cluster := redistest.StartCluster(t)
			return cluster.URL(), func() { cluster.Kill(0) } // a third of the topics
		},
		"a client is disconnected": func(t *testing.T) (string, func()) {
			redis := redistest.Start(t)
			return redis.URL(), func() { redis.Must("CLIENT", "KILL", "TYPE", "pubsub") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, fail := start(t)
			one, two := open(t, url, "", inbox.TopicLimits{}), open(t, url, "", inbox.TopicLimits{})
			const topics = 20
			var listeners []*topicstest.Listener
			for i := range topics {
				l := new(topicstest.Listener)
				if _, err := two.Subscribe(fmt.Sprint(i), l); err != nil {
					t.Fatal(err)
				}
				topicstest.Reach(t, one, fmt.Sprint(i), l)
				listeners = append(listeners, l)
			}
			fail()
			begin := time.Now()
			inboxtest.Until(t, "a subscriber is notified of the loss", func() bool {
				return slices.ContainsFunc(listeners, func(l *topicstest.Listener) bool { return l.Losses() > 0 })
			})
			for i, l := range listeners {
				topicstest.Reach(t, one, fmt.Sprint(i), l)
			}
			t.Logf("all topics work %v after the fault", time.Since(begin).Round(time.Millisecond))
		})
	}
}

// A slot that moves to another primary takes its topics with it.
func TestSlotMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	one, two := open(t, cluster.URL(), "", inbox.TopicLimits{}), open(t, cluster.URL(), "", inbox.TopicLimits{})
	l := new(topicstest.Listener)
	if _, err := two.Subscribe("room", l); err != nil {
		t.Fatal(err)
	}
	topicstest.Reach(t, one, "room", l)
	p, _ := one.place("room")
	cluster.Move(redislink.Slot(redislink.Tag(uint8(p.number))))
	topicstest.Reach(t, one, "room", l)
}

// Redis stores nothing, and its channels do not reveal the names of topics. A server has
// one subscription per topic while the topic has subscribers.
func TestWhatRedisSees(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	one, two := open(t, redis.URL(), "", inbox.TopicLimits{}), open(t, redis.URL(), "", inbox.TopicLimits{})
	var listeners [3]topicstest.Listener
	for i := range listeners {
		if _, err := two.Subscribe("known-room", &listeners[i]); err != nil {
			t.Fatal(err)
		}
	}
	topicstest.Reach(t, one, "known-room", &listeners[0])
	channels := func() (all []string) {
		m := redis.Must("PUBSUB", "SHARDCHANNELS")
		names, err := m.AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.Contains(name, "}t:") && !strings.HasSuffix(name, one.link.Server()) && !strings.HasSuffix(name, two.link.Server()) {
				all = append(all, name)
			}
		}
		return all
	}
	all := channels()
	if len(all) != 1 || strings.Contains(all[0], "known") {
		t.Errorf("the channels are %q, want one with a hash", all)
	}
	m := redis.Must("PUBSUB", "SHARDNUMSUB", all[0])
	counts, _ := m.ToArray()
	if n, err := counts[1].AsInt64(); n != 1 || err != nil {
		t.Errorf("%d subscriptions of one server, %v", n, err)
	}
	m = redis.Must("KEYS", "*")
	keys, _ := m.AsStrSlice()
	for _, key := range keys {
		if !strings.Contains(key, "}probe:") { // belongs to the link
			t.Errorf("Redis keeps %q", key)
		}
	}
	for i := range listeners {
		two.Unsubscribe("known-room", &listeners[i])
	}
	inboxtest.Until(t, "the server has unsubscribed", func() bool { return len(channels()) == 0 })
}

// While Redis is unavailable, publishing does not block, and a server's own subscribers
// get everything.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	topics := open(t, redis.URL(), "", inbox.TopicLimits{})
	l := new(topicstest.Listener)
	if _, err := topics.Subscribe("room", l); err != nil {
		t.Fatal(err)
	}
	redis.Pause()
	const most = 3 * outMost
	begin := time.Now()
	for range most {
		if err := topics.Publish("room", []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d publications took %v", most, time.Since(begin))
	if got := len(l.Bodies()); got != most {
		t.Errorf("%d of %d publications reached the server's own subscriber", got, most)
	}
	if topics.Dropped() == 0 {
		t.Error("no publication was dropped")
	}
	redis.Resume()
	inboxtest.Until(t, "the subscriber is notified of the loss", func() bool { return l.Losses() > 0 })
}

// While Redis does not answer, later publications do not change earlier ones: what arrives
// afterwards arrives whole and at its topic.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	one, two := open(t, redis.URL(), "", inbox.TopicLimits{}), open(t, redis.URL(), "", inbox.TopicLimits{})
	const topics = 7
	var listeners [topics]topicstest.Listener
	for i := range listeners {
		topic := fmt.Sprint(i, ".")
		if _, err := two.Subscribe(topic, &listeners[i]); err != nil {
			t.Fatal(err)
		}
		topicstest.Reach(t, one, topic, &listeners[i])
	}
	reached := len(listeners[0].Bodies())
	redis.Pause()
	for i := range 3 * sendBatch {
		topic := fmt.Sprint(i%topics, ".")
		if err := one.Publish(topic, fmt.Appendf(nil, "%s%d", topic, i)); err != nil {
			t.Fatal(err)
		}
	}
	inboxtest.Until(t, "two round trips time out", func() bool { return one.Dropped() > sendBatch })
	redis.Resume()
	last := "0."
	inboxtest.Until(t, "publications arrive again", func() bool {
		_ = one.Publish(last, []byte(last))
		return slices.Contains(listeners[0].Bodies()[reached:], last)
	})
	for i := range listeners {
		for _, body := range listeners[i].Bodies() {
			if topic, _, ours := strings.Cut(body, "."); ours && topic != fmt.Sprint(i) {
				t.Errorf("topic %d delivered %q", i, body)
			}
		}
	}
}
