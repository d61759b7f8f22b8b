package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"inbox"
	family "inbox/internal/metrics"
	"inbox/memtopics"
	"inbox/redistopics"
	"inbox/topichttp"
)

// topicFlags configure the protocols whose clients meet in topics.
type topicFlags struct {
	Topics           bool `default:"true" group:"Topics" help:"Serve y-webrtc and Trystero clients. --topics=false turns this off."`
	TopicSubscribers int  `default:"1000" group:"Topics" help:"Subscribers of one topic on this server, and peers of one swarm. Further clients receive nothing from it."`
	TopicName        size `default:"512B" group:"Topics" help:"Length of a topic's name."`
	ConnectionTopics int  `default:"200" group:"Topics" help:"Topics or swarms per connection. The server ignores further ones."`
	TopicQueue       size `default:"256KiB" group:"Topics" help:"Bytes queued for a subscriber that does not read. Beyond it, a Trystero or WebTorrent client loses messages; a y-webrtc client loses its connection and subscribes again."`
	Tracker          bool `group:"Topics" help:"Serve a tracker for WebTorrent clients at /announce."`
	TrackerSwarms    int  `default:"1000" group:"Topics" help:"Swarms of the tracker on this server. A new one replaces an old one of the address that has created the most."`
}

// check rejects invalid values.
func (c *topicFlags) check() error {
	switch {
	case c.Tracker && !c.Topics:
		return errors.New("--tracker requires --topics")
	case c.Tracker && int(c.TopicName) < topichttp.SwarmName:
		return fmt.Errorf("--tracker requires a --topic-name of at least %dB", topichttp.SwarmName)
	}
	return cmp.Or(
		atLeast(1, "--topic-subscribers", c.TopicSubscribers),
		atLeast(1, "--topic-name", c.TopicName),
		atLeast(1, "--connection-topics", c.ConnectionTopics),
		atLeast(16<<10, "--topic-queue", c.TopicQueue),
		atLeast(1, "--tracker-swarms", c.TrackerSwarms),
	)
}

func (c *topicFlags) limits() inbox.TopicLimits {
	return inbox.TopicLimits{Name: int(c.TopicName), Subscribers: c.TopicSubscribers}
}

// sharedTopics are topics with their metrics.
type sharedTopics struct {
	inbox.Topics
	families []family.Family
}

// memoryTopics returns the topics of a single server.
func (c *topicFlags) memoryTopics() *sharedTopics {
	t := memtopics.New(c.limits())
	return &sharedTopics{t, topicFamilies(t)}
}

// redisTopics returns topics that servers share through Redis.
func (c *topicFlags) redisTopics(config redistopics.Config) *sharedTopics {
	config.Limits = c.limits()
	t := redistopics.New(config)
	return &sharedTopics{t, append(topicFamilies(t.Topics), lostFamilies(t)...)}
}

func lostFamilies(t *redistopics.Topics) []family.Family {
	return []family.Family{
		family.Counter("inbox_topics_lost_total", "Publications that did not reach the other servers, because Redis was unavailable or too slow.", func() float64 { return float64(t.Dropped()) }),
	}
}

func topicFamilies(t *memtopics.Topics) []family.Family {
	stat := func(read func(memtopics.Stats) float64) func() float64 {
		return func() float64 { return read(t.Stats()) }
	}
	return []family.Family{
		family.Gauge("inbox_topics", "Topics with subscribers on this server.", stat(func(s memtopics.Stats) float64 { return float64(s.Topics) })),
		family.Gauge("inbox_topics_subscriptions", "Subscriptions of clients to topics.", stat(func(s memtopics.Stats) float64 { return float64(s.Subscriptions) })),
		family.Counter("inbox_topics_publications_total", "Publications that reached this server, including those from other servers.", stat(func(s memtopics.Stats) float64 { return float64(s.Publications) })),
		family.Counter("inbox_topics_copies_total", "Copies of publications for subscribers on this server.", stat(func(s memtopics.Stats) float64 { return float64(s.Copies) })),
	}
}

func memberFamilies(h *topichttp.Handler) []family.Family {
	if h == nil {
		return nil
	}
	stat := func(read func(swarms, peers int) int) func() float64 {
		return func() float64 { return float64(read(h.SwarmStats())) }
	}
	return []family.Family{
		family.Counter("inbox_topics_dropped_total", "Copies of publications that subscribers lost because they did not read.", func() float64 { return float64(h.Dropped()) }),
		family.Gauge("inbox_tracker_swarms", "Swarms with peers on this server.", stat(func(swarms, _ int) int { return swarms })),
		family.Gauge("inbox_tracker_peers", "Peers in swarms on this server. A client counts once for each of its swarms.", stat(func(_, peers int) int { return peers })),
		family.Counter("inbox_tracker_relayed_total", "Offers and answers that the tracker passed on for clients of this server.", func() float64 { return float64(h.Relayed()) }),
	}
}

// topicHandler returns the handler of y-webrtc, Trystero and the tracker; nil with --topics=false.
func (c *serveCommand) topicHandler(t topichttp.Config) (*topichttp.Handler, error) {
	if !c.Topics {
		return nil, nil
	}
	t.AllowOrigins, t.PerConnection, t.Queue = c.AllowOrigin, c.ConnectionTopics, int(c.TopicQueue)
	t.Swarms, t.SwarmPeers = c.TrackerSwarms, c.TopicSubscribers
	t.MaxMessage = max(int(c.MaxBody), topichttp.DefaultMaxMessage)
	return topichttp.New(t)
}

// withTopics serves the URLs of topics, and leaves the others to next. Clients of y-webrtc
// may use any path below theirs, so it is not a pattern of the mux: PeerJS has patterns
// that begin with any word.
func (c *serveCommand) withTopics(h *topichttp.Handler, next http.Handler) http.Handler {
	if h == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path, ok := strings.CutPrefix(r.URL.Path, c.basePath()); {
		case !ok:
			next.ServeHTTP(w, r)
		case path == "yjs" || strings.HasPrefix(path, "yjs/"):
			h.YWebRTC(w, r)
		case path == "trystero":
			h.Trystero(w, r)
		case path == "announce" && c.Tracker:
			h.Tracker(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
