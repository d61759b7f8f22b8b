package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mrand "math/rand/v2"

	"github.com/redis/rueidis"

	"inbox"
	"inbox/internal/meter"
)

// link is one server's connection to Redis: what is alike for all inboxes.
type link struct {
	option       rueidis.ClientOption
	prefix       string
	server       string // 8 characters that name this server, drawn at its start
	cluster      bool
	waitReplicas int64
	log          *slog.Logger
	hashes       *sync.Pool // of *keyedHash, for ids
	addresses    *sync.Pool // of *keyedHash, for addresses

	clients   atomic.Pointer[clients]
	closing   sync.WaitGroup // clients that were replaced
	receivers receivers
	parts     []health // one for each partition of a cluster, else one
	doubted   chan struct{}
	swept     chan struct{} // there is a part to sweep
	ended     chan struct{} // closed when Run ends
	started   time.Time

	delivery, roundTrips *meter.Histogram // nil: not counted
	failovers            atomic.Uint64    // seen by probes
	reconnects           atomic.Uint64    // by rebuild
	probes               int              // of the goroutine that probes
	used, most           atomic.Int64     // memory of all primaries, and their maxmemory or 0

	spoiled     atomic.Int64 // inboxes that another program has destroyed
	toldSpoiled atomic.Int64 // when that was logged last, in Unix seconds
}

// clients are replaced together when nothing else helps.
type clients struct {
	commands rueidis.Client
	wakes    rueidis.Client // apart, since a connection that hears has limits of its own
}

// health is what is known of the way to one part.
type health struct {
	down       atomic.Bool  // operations fail at once
	subscribed atomic.Bool  // we hear of wakes
	heard      atomic.Int64 // when we heard last, in Unix nanoseconds
	sweep      atomic.Bool  // its receivers are to look again
	restart    atomic.Pointer[context.CancelFunc]
	doubtful   atomic.Bool  // an operation failed since the last probe that did not
	ahead      atomic.Int64 // of ours is the clock of Redis, in microseconds

	failing time.Time // since then, or zero; of the goroutine that probes
	history string    // of the primary's writes, as the last probe has found it; of the same
}

// ours is a time by our own clock, in microseconds since the start.
func (l *link) ours(t time.Time) int64 { return t.Sub(l.started).Microseconds() }

// tell takes from an answer what the clock of Redis shows. It came at a time of
// ours, and was read a little earlier: what is reckoned with it ends too early by
// as much, rather than after its caller was told that it had failed.
func (h *health) tell(r reply, came int64) {
	if now := r.clock(); now != 0 {
		h.ahead.Store(now - came)
	}
}

func (h *health) hear() { h.heard.Store(time.Now().UnixNano()) }

func (l *link) health(partition uint8) *health {
	if !l.cluster {
		return &l.parts[0]
	}
	return &l.parts[partition]
}

// channel is what the wakes for the receivers of a partition go over, without
// the server's name at its end. On a cluster it is in the partition's slot.
func (l *link) channel(partition uint8) string {
	if !l.cluster {
		return l.prefix + "wake:"
	}
	return l.prefix + "{" + tags()[partition] + "}wake:"
}

func newServerName() string {
	var b [6]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// connect makes clients. It fails if nobody answers.
func (l *link) connect() (*clients, error) {
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
	wakes, err := rueidis.NewClient(hearing)
	if err != nil {
		commands.Close()
		return nil, err
	}
	return &clients{commands, wakes}, nil
}

func (c *clients) close() {
	c.commands.Close()
	c.wakes.Close()
}

// tune sets what does not come from the URL.
func tune(o rueidis.ClientOption) rueidis.ClientOption {
	o.DisableCache = true
	o.AlwaysPipelining = true
	o.DisableRetry = true // we know better what may be tried again, and for how long
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

// Run hears of wakes and watches over the connection until ctx ends, which it
// closes then; call it once. A store that does not run finds no message late, but its
// receivers are not woken by sends of other servers.
func (s *Store) Run(ctx context.Context) {
	l := s.link
	var running sync.WaitGroup
	for i := range l.parts {
		running.Go(func() { l.listen(ctx, i) })
	}
	running.Go(func() { l.watch(ctx) })
	running.Go(func() { l.sweep(ctx) })
	running.Go(func() { l.remind(ctx) })
	running.Wait()
	close(l.ended)
	l.clients.Load().close()
	l.closing.Wait()
}

// Ready reports whether every part of the inboxes can be written to and wakes
// are heard, as found out a few seconds ago at most.
func (s *Store) Ready() bool {
	for i := range s.parts {
		if p := &s.parts[i]; p.down.Load() || !p.subscribed.Load() {
			return false
		}
	}
	return true
}

// listen hears of wakes for one part, over whatever connection there is.
func (l *link) listen(ctx context.Context, part int) {
	h := &l.parts[part]
	channel := l.channel(uint8(part)) + l.server
	const shortest = 20 * time.Millisecond
	for pause := shortest; ctx.Err() == nil; pause = min(2*pause, time.Second) {
		hearing, stop := context.WithCancel(ctx)
		h.restart.Store(&stop)
		c := l.clients.Load().wakes
		hooked := rueidis.WithOnSubscriptionHook(hearing, func(s rueidis.PubSubSubscription) {
			if s.Kind == "ssubscribe" {
				h.hear()
				h.subscribed.Store(true)
				l.requestSweep(h) // for what was said while nobody heard
			}
		})
		err := c.Receive(hooked, c.B().Ssubscribe().Channel(channel).Build(), func(m rueidis.PubSubMessage) {
			l.heard(h, m.Message)
		})
		stop()
		if h.subscribed.Swap(false) && ctx.Err() == nil {
			l.log.Debug("wakes are not heard", "part", part, "error", err)
			pause = shortest
		}
		select {
		case <-time.After(pause/2 + mrand.N(pause)):
		case <-ctx.Done():
		}
	}
}

// heard takes what a script tells. It must not block.
func (l *link) heard(h *health, message string) {
	h.hear()
	if len(message) != 1+8 {
		return // a probe
	}
	number := binary.BigEndian.Uint64([]byte(message[1:]))
	switch message[0] {
	case 'w':
		l.receivers.wake(number)
	case 'r':
		l.receivers.end(number, inbox.ErrReplaced)
	case 'c':
		l.receivers.end(number, inbox.ErrClosed)
	}
}

func (l *link) requestSweep(h *health) {
	h.sweep.Store(true)
	select {
	case l.swept <- struct{}{}:
	default:
	}
}

// wakeBurst bounds how many receivers are woken before a pause of wakePause: 10,000 look
// in a second, and not all of a server at once.
const wakeBurst, wakePause = 100, 10 * time.Millisecond

func wakeSlowly(ctx context.Context, wakers []*inbox.Waker) {
	for i, w := range wakers {
		w.Wake()
		if i%wakeBurst == wakeBurst-1 {
			select {
			case <-time.After(wakePause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// sweep has the receivers look again whose wakes may have been lost.
func (l *link) sweep(ctx context.Context) {
	for {
		select {
		case <-l.swept:
		case <-ctx.Done():
			return
		}
		for i := range l.parts {
			if !l.parts[i].sweep.Swap(false) {
				continue
			}
			if l.cluster {
				wakeSlowly(ctx, l.receivers.all(i))
				continue
			}
			for partition := range partitions {
				wakeSlowly(ctx, l.receivers.all(partition))
			}
		}
	}
}

// remind has receivers look again that have not for long.
func (l *link) remind(ctx context.Context) {
	tick := time.NewTicker(time.Second / 8)
	defer tick.Stop()
	const each = 8 // partitions in a tick: each has its turn every 4 seconds
	for first := 0; ; first = (first + each) % partitions {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for i := range each {
			wakeSlowly(ctx, l.receivers.due(first+i, time.Now()))
		}
	}
}
