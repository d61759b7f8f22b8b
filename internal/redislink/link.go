// Package redislink manages one server's connection to Redis or Valkey, which its inboxes
// and topics share.
//
// A [Link] has two clients: one for commands, and one for subscriptions, whose
// connections have different limits. [Link.Run] probes every part of Redis every few
// seconds. It replaces both clients if a part stays unavailable, and restarts
// subscriptions that receive nothing. Callers retry their own commands in the meantime.
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

// Config describes how to connect to Redis. Zero fields mean the documented default, if
// there is one.
type Config struct {
	// URL is redis:// or rediss:// (TLS), with user and password if needed; see
	// [ParseURL] for Sentinel and Cluster.
	URL string
	// Password is the password for Redis if the URL has none; default none. It is used
	// literally, without percent-encoding.
	Password string
	// RootCAs verify the certificates of rediss:// servers; default the system's.
	RootCAs *x509.CertPool
	// ClientCertificate returns, for each handshake, the certificate for a Redis that
	// requires one; default none.
	ClientCertificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Prefix begins every key and channel; default "inbox:".
	Prefix string
	Log    *slog.Logger // events of the connection; default none
}

// A Link is a connection to Redis. Create one with [Open] and start [Link.Run]. It is
// safe for concurrent use.
type Link struct {
	option  rueidis.ClientOption
	prefix  string
	server  string
	cluster bool
	log     *slog.Logger

	clients atomic.Pointer[clients]
	closing sync.WaitGroup // waits for replaced clients to close
	parts   []Part         // one per partition of a cluster, otherwise one
	doubted chan struct{}
	resumed func(part int)
	ended   chan struct{} // closed when Run returns
	started time.Time

	failovers  atomic.Uint64 // detected by probes
	reconnects atomic.Uint64 // counted by rebuild
	probes     int           // number of probes; owned by the probing goroutine
	used, most atomic.Int64  // memory of all primaries, and the sum of maxmemory or 0
}

// clients are replaced together when a part stays unavailable.
type clients struct {
	commands      rueidis.Client
	subscriptions rueidis.Client // separate because Redis limits the output of subscribers differently
}

// Open connects to Redis. It retries for up to 20 seconds if Redis times out.
func Open(ctx context.Context, c Config) (*Link, error) {
	option, err := ParseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("URL of redis: %w", err)
	}
	switch {
	case c.Password != "" && option.Password != "":
		return nil, errors.New("the URL of redis contains a password, but another one is configured: remove one of them")
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
		return nil, errors.New("the prefix of keys in redis must not contain { or }")
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
		l.log.Warn("redis timed out, retrying", "error", err)
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

// isTimeout reports whether Redis was slow, rather than unreachable.
func isTimeout(err error) bool {
	var slow net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout()
}

// Client returns the client for commands. A reconnect replaces it, so do not keep it.
func (l *Link) Client() rueidis.Client { return l.clients.Load().commands }

// Subscriptions returns the client for subscriptions. A reconnect closes it and ends its
// subscriptions.
func (l *Link) Subscriptions() rueidis.Client { return l.clients.Load().subscriptions }

// Prefix returns the prefix of every key and channel.
func (l *Link) Prefix() string { return l.prefix }

// Server returns the name of this server: 8 random characters.
func (l *Link) Server() string { return l.server }

// Cluster reports whether Redis is a cluster. Each partition then has its own slot.
func (l *Link) Cluster() bool { return l.cluster }

// Parts returns the number of parts; see [Part].
func (l *Link) Parts() int { return len(l.parts) }

// Part returns the part that contains a partition.
func (l *Link) Part(partition uint8) *Part {
	if !l.cluster {
		return &l.parts[0]
	}
	return &l.parts[partition]
}

// Channel returns the prefix of the channels on which servers send each other messages
// about a partition; a server's name completes it. In a cluster the channel is in the
// partition's slot.
func (l *Link) Channel(partition uint8) string {
	if !l.cluster {
		return l.prefix + "wake:"
	}
	return l.prefix + "{" + Tag(partition) + "}wake:"
}

// Clock converts a time to microseconds on this server's monotonic clock.
func (l *Link) Clock(t time.Time) int64 { return t.Sub(l.started).Microseconds() }

// Ended returns a channel that is closed when [Link.Run] has returned.
func (l *Link) Ended() <-chan struct{} { return l.ended }

// Close closes the clients of a link whose Run was never called.
func (l *Link) Close() { l.clients.Load().close() }

func newServerName() string {
	var b [6]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// connect creates both clients. It fails if no server answers.
func (l *Link) connect() (*clients, error) {
	option := l.option
	option.InitAddress = slices.Clone(option.InitAddress) // the client shuffles it
	commands, err := rueidis.NewClient(option)
	if err != nil {
		return nil, err
	}
	option = l.option
	option.InitAddress = slices.Clone(option.InitAddress)
	option.PipelineMultiplex = -1
	option.ReadBufferEachConn, option.WriteBufferEachConn = 16<<10, 16<<10
	subscriptions, err := rueidis.NewClient(option)
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

// tune sets the options that do not come from the URL.
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

// Run receives messages to this server and watches the connection until ctx ends, and
// then closes the link. Call it once.
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

// Ready reports whether every part is writable and messages to this server arrive, as of
// the latest probes a few seconds ago.
func (l *Link) Ready() bool {
	for i := range l.parts {
		if p := &l.parts[i]; p.down.Load() || !p.subscribed.Load() {
			return false
		}
	}
	return true
}

// listen receives the messages about one part. It resubscribes until ctx ends.
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
				l.resumed(part) // messages may have been lost before
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
			l.log.Debug("subscription ended, resubscribing", "part", part, "error", err)
			pause = shortest
		}
		select {
		case <-time.After(pause/2 + mrand.N(pause)):
		case <-ctx.Done():
		}
	}
}
