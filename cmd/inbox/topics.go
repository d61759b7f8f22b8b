package main

import (
	"errors"
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
	Topics           bool `default:"true" group:"Topics" help:"Serve y-webrtc and Trystero clients too; --topics=false does not."`
	TopicSubscribers int  `default:"1000" group:"Topics" help:"Subscribers of one topic at this server. Beyond it, a client hears nothing of the topic."`
	TopicName        size `default:"512B" group:"Topics" help:"Bytes of a topic's name."`
	ConnectionTopics int  `default:"200" group:"Topics" help:"Topics of one connection. The server ignores more."`
	TopicQueue       size `default:"256KiB" group:"Topics" help:"Bytes that wait for a subscriber that does not read. Beyond it, a Trystero client loses messages, and a y-webrtc client its connection: it subscribes again."`
}

// check refuses values that make no sense.
func (c *topicFlags) check() error {
	switch {
	case c.TopicSubscribers < 1:
		return errors.New("--topic-subscribers is at least 1")
	case c.TopicName < 1:
		return errors.New("--topic-name is at least 1B")
	case c.ConnectionTopics < 1:
		return errors.New("--connection-topics is at least 1")
	case c.TopicQueue < 16<<10:
		return errors.New("--topic-queue is at least 16KiB")
	}
	return nil
}

func (c *topicFlags) limits() inbox.TopicLimits {
	return inbox.TopicLimits{Name: int(c.TopicName), Subscribers: c.TopicSubscribers}
}

// sharedTopics are topics with what the program has to do with them.
type sharedTopics struct {
	inbox.Topics
	families []family.Family
}

// memoryTopics returns the topics of a server that is alone.
func (c *topicFlags) memoryTopics() *sharedTopics {
	t := memtopics.New(c.limits())
	return &sharedTopics{t, topicFamilies(t)}
}

// redisTopics returns topics that servers share.
func (c *topicFlags) redisTopics(config redistopics.Config) *sharedTopics {
	config.Limits = c.limits()
	t := redistopics.New(config)
	return &sharedTopics{t, append(topicFamilies(t.Topics), lostFamilies(t)...)}
}

func lostFamilies(t *redistopics.Topics) []family.Family {
	return []family.Family{
		family.Counter("inbox_topics_lost_total", "Publications that did not reach the other servers, since Redis was away or too slow.", func() float64 { return float64(t.Dropped()) }),
	}
}

func topicFamilies(t *memtopics.Topics) []family.Family {
	stat := func(read func(memtopics.Stats) float64) func() float64 {
		return func() float64 { return read(t.Stats()) }
	}
	return []family.Family{
		family.Gauge("inbox_topics", "Topics that have subscribers at this server.", stat(func(s memtopics.Stats) float64 { return float64(s.Topics) })),
		family.Gauge("inbox_topics_subscriptions", "Subscriptions of clients to topics.", stat(func(s memtopics.Stats) float64 { return float64(s.Subscriptions) })),
		family.Counter("inbox_topics_publications_total", "Publications, also of other servers, that reached this server.", stat(func(s memtopics.Stats) float64 { return float64(s.Publications) })),
		family.Counter("inbox_topics_copies_total", "Copies of publications for the subscribers at this server.", stat(func(s memtopics.Stats) float64 { return float64(s.Copies) })),
	}
}

func memberFamilies(h *topichttp.Handler) []family.Family {
	if h == nil {
		return nil
	}
	return []family.Family{
		family.Counter("inbox_topics_dropped_total", "Copies of publications that subscribers have lost because they did not read.", func() float64 { return float64(h.Dropped()) }),
	}
}

// topicHandler returns the handler of y-webrtc and Trystero, or nil if they are not served.
func (c *serveCommand) topicHandler(t topichttp.Config) (*topichttp.Handler, error) {
	if !c.Topics {
		return nil, nil
	}
	t.AllowOrigins, t.PerConnection, t.Queue = c.AllowOrigin, c.ConnectionTopics, int(c.TopicQueue)
	t.MaxMessage = max(int(c.MaxBody), topichttp.DefaultMaxMessage)
	return topichttp.New(t)
}

// withTopics serves the URLs of topics, and leaves the others to next. Clients of y-webrtc
// may use any path below theirs, so it is not a pattern of the mux: PeerJS has patterns
// that begin with any word.
func withTopics(base string, h *topichttp.Handler, next http.Handler) http.Handler {
	if h == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path, ok := strings.CutPrefix(r.URL.Path, base); {
		case !ok:
			next.ServeHTTP(w, r)
		case path == "yjs" || strings.HasPrefix(path, "yjs/"):
			h.YWebRTC(w, r)
		case path == "trystero":
			h.Trystero(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
