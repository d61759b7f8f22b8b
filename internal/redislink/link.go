// Package redislink is one server's connection to Redis or Valkey. The inboxes and the
// topics of a server share it.
//
// A [Link] has two clients: one for commands, and one for subscriptions, whose
// connections have other limits. [Link.Run] probes every part of Redis every few
// seconds. It replaces both clients when a part stays away, and restarts a subscription
// that has gone deaf. What fails meanwhile is the caller's to retry.
package redislink

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Config says where Redis is. Zero fields mean the documented default, where there is
// one.
type Config struct {
	// URL is redis:// or rediss:// (TLS), with user and password if needed; see
	// [ParseURL] for Sentinel and Cluster.
	URL string
	// Password is that of Redis, in place of one in the URL; none. It is taken
	// literally: nothing is percent-encoded.
	Password string
	// RootCAs verify the certificates of rediss://; the system's.
	RootCAs *x509.CertPool
	// ClientCertificate returns, for each handshake, the certificate to show to a Redis
	// that requires one; none.
	ClientCertificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Prefix begins every key and channel; "inbox:".
	Prefix string
	Log    *slog.Logger // of what happens to the connection; none
}

// A Link is safe for concurrent use. Make one with [Open], and [Link.Run] it.
type Link struct {
	option  rueidis.ClientOption
	prefix  string
	server  string
	cluster bool
	log     *slog.Logger

	clients atomic.Pointer[clients]
	closing sync.WaitGroup // clients that were replaced
	parts   []Part         // one for each partition of a cluster, else one
	doubted chan struct{}
	resumed func(part int)
	ended   chan struct{} // closed when Run ends
	started time.Time

	failovers  atomic.Uint64 // seen by probes
	reconnects atomic.Uint64 // by rebuild
	probes     int           // owned by the goroutine that probes
	used, most atomic.Int64  // memory of all primaries, and their maxmemory or 0
}

// clients are replaced together when nothing else helps.
type clients struct {
	commands      rueidis.Client
	subscriptions rueidis.Client // separate: Redis limits such a connection's output differently
}

// Open connects to Redis. While Redis is slow to answer, it retries for up to 20 s.
func Open(ctx context.Context, c Config) (*Link, error) {
	option, err := ParseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("the address of redis: %w", err)
	}
	switch {
	case c.Password != "" && option.Password != "":
		return nil, errors.New("the URL of redis holds a password, and another one is configured")
	case c.Password != "":
		option.Password = c.Password
	}
	if t := option.TLSConfig; t != nil {
		t.RootCAs, t.GetClientCertificate = c.RootCAs, c.ClientCertificate
	}
	if c.Prefix == "" {
		c.Prefix = "inbox:"
	}
	if strings.ContainsAny(c.Prefix, "{}") {
		return nil, errors.New("the prefix of keys in redis holds no { and no }")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l := &Link{
		option: tune(option), prefix: c.Prefix, server: newServerName(), log: c.Log,
		doubted: make(chan struct{}, 1), ended: make(chan struct{}), started: time.Now(),
	}
	connected, err := l.connect()
	const patience = 20 * time.Second
	for begin := time.Now(); isTimeout(err) && time.Since(begin) < patience && ctx.Err() == nil; connected, err = l.connect() {
		l.log.Warn("redis is slow to answer, trying again", "error", err)
	}
	if err != nil {
		return nil, fmt.Errorf("redis cannot be reached: %w", err)
	}
	l.clients.Store(connected)
	l.cluster = connected.commands.Mode() == rueidis.ClientModeCluster
	l.parts = make([]Part, 1)
	if l.cluster {
		l.parts = make([]Part, Partitions)
	}
	return l, nil
}

// isTimeout reports whether Redis was slow, rather than absent.
func isTimeout(err error) bool {
	var slow net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout()
}

// Client returns the client for commands. It may be another after a reconnect, so ask
// for it each time.
func (l *Link) Client() rueidis.Client { return l.clients.Load().commands }

// Subscriptions returns the client for subscriptions. A reconnect closes it, which ends
// what was subscribed through it.
func (l *Link) Subscriptions() rueidis.Client { return l.clients.Load().subscriptions }

// Prefix begins every key and channel of this link.
func (l *Link) Prefix() string { return l.prefix }

// Server returns 8 random characters that name this server.
func (l *Link) Server() string { return l.server }

// Cluster reports whether Redis is a cluster. A partition then has a slot of its own.
func (l *Link) Cluster() bool { return l.cluster }

// Parts returns the number of parts, see [Part].
func (l *Link) Parts() int { return len(l.parts) }

// Part returns the part that a partition is in.
func (l *Link) Part(partition uint8) *Part {
	if !l.cluster {
		return &l.parts[0]
	}
	return &l.parts[partition]
}

// Channel returns the channel, without the server's name at its end, over which servers
// reach each other about a partition. On a cluster it is in the partition's slot.
func (l *Link) Channel(partition uint8) string {
	if !l.cluster {
		return l.prefix + "wake:"
	}
	return l.prefix + "{" + Tag(partition) + "}wake:"
}

// Clock converts a time to microseconds of this server's monotonic clock.
func (l *Link) Clock(t time.Time) int64 { return t.Sub(l.started).Microseconds() }

// Ended returns a channel that is closed when [Link.Run] has ended.
func (l *Link) Ended() <-chan struct{} { return l.ended }

// Close closes the clients of a link that does not run.
func (l *Link) Close() { l.clients.Load().close() }

func newServerName() string {
	var b [6]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// connect makes clients. It fails if no server answers.
func (l *Link) connect() (*clients, error) {
	option := l.option
	option.InitAddress = slices.Clone(option.InitAddress) // which a client shuffles
	commands, err := rueidis.NewClient(option)
	if err != nil {
		return nil, err
	}
	hearing := l.option
	hearing.InitAddress = slices.Clone(hearing.InitAddress)
	hearing.PipelineMultiplex = -1
	hearing.ReadBufferEachConn, hearing.WriteBufferEachConn = 16<<10, 16<<10
	subscriptions, err := rueidis.NewClient(hearing)
	if err != nil {
		commands.Close()
		return nil, err
	}
	return &clients{commands, subscriptions}, nil
}

func (c *clients) close() {
	c.commands.Close()
	c.subscriptions.Close()
}

// tune sets what does not come from the URL.
func tune(o rueidis.ClientOption) rueidis.ClientOption {
	o.DisableCache = true
	o.AlwaysPipelining = true
	o.DisableRetry = true // callers know what may be retried, and for how long
	o.ShuffleInit = true
	o.ClientName = "inbox"
	o.Dialer = net.Dialer{Timeout: time.Second, KeepAlive: 500 * time.Millisecond}
	o.ConnWriteTimeout = 2 * time.Second
	o.ReadBufferEachConn, o.WriteBufferEachConn = 128<<10, 128<<10
	o.ClusterOption.ShardsRefreshInterval = 5 * time.Second
	o.Sentinel.Dialer = o.Dialer
	o.Sentinel.TopologyRefreshInterval = 2 * time.Second
	return o
}

// Run listens for messages to this server and watches the connection until ctx ends,
// which closes the link. Call it once.
//
// heard is called with each message that another server has published on a [Link.Channel]
// with this server's name. resumed is called when messages about a part may have been
// lost: after each subscription and after an outage. Neither may block.
func (l *Link) Run(ctx context.Context, heard func(message string), resumed func(part int)) {
	l.resumed = resumed
	var running sync.WaitGroup
	for i := range l.parts {
		running.Go(func() { l.listen(ctx, i, heard) })
	}
	running.Go(func() { l.watch(ctx) })
	running.Wait()
	close(l.ended)
	l.clients.Load().close()
	l.closing.Wait()
}

// Ready reports whether every part can be written to and messages to this server
// arrive, as of a few seconds ago at most.
func (l *Link) Ready() bool {
	for i := range l.parts {
		if p := &l.parts[i]; p.down.Load() || !p.subscribed.Load() {
			return false
		}
	}
	return true
}

// listen receives the messages about one part, over whichever connection there is.
func (l *Link) listen(ctx context.Context, part int, heard func(message string)) {
	p := &l.parts[part]
	channel := l.Channel(uint8(part)) + l.server
	const shortest = 20 * time.Millisecond
	for pause := shortest; ctx.Err() == nil; pause = min(2*pause, time.Second) {
		hearing, stop := context.WithCancel(ctx)
		p.restart.Store(&stop)
		c := l.Subscriptions()
		hooked := rueidis.WithOnSubscriptionHook(hearing, func(s rueidis.PubSubSubscription) {
			if s.Kind == "ssubscribe" {
				p.hear()
				p.subscribed.Store(true)
				l.resumed(part) // nobody listened until now
			}
		})
		err := c.Receive(hooked, c.B().Ssubscribe().Channel(channel).Build(), func(m rueidis.PubSubMessage) {
			p.hear()
			if m.Message != probeMessage {
				heard(m.Message)
			}
		})
		stop()
		if p.subscribed.Swap(false) && ctx.Err() == nil {
			l.log.Debug("wakes are not heard", "part", part, "error", err)
			pause = shortest
		}
		select {
		case <-time.After(pause/2 + mrand.N(pause)):
		case <-ctx.Done():
		}
	}
}
