package redisstore

import (
	"context"
	"crypto/cipher"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"inbox"
	"inbox/internal/meter"
	"inbox/internal/redislink"
)

// A link is what the stores of a server share: the connection to Redis, and the receivers
// that wait here.
type link struct {
	*redislink.Link
	waitReplicas int64
	log          *slog.Logger
	ids          *redislink.Hashes
	addresses    *redislink.Hashes
	roomNames    *redislink.Hashes
	roomSeal     cipher.AEAD // seals names of rooms, and ids of their members

	receivers receivers
	sweeps    [redislink.Partitions]atomic.Bool // parts whose receivers have to look again
	swept     chan struct{}                     // signals that there is a part to sweep

	delivery, roundTrips *meter.Histogram // nil records nothing

	spoiled       atomic.Int64 // inboxes or keys that another program has overwritten
	spoiledLogged atomic.Int64 // when this was last logged, in Unix seconds
}

// Run receives wakes and watches the connection until ctx ends, and then closes the link.
// Call it once. Without Run no message is lost, but sends through other servers do not
// wake local receivers.
func (s *Store) Run(ctx context.Context) {
	l := s.link
	var running sync.WaitGroup
	running.Go(func() { l.sweep(ctx) })
	running.Go(func() { l.remind(ctx) })
	running.Go(func() { s.sweepRooms(ctx) })
	l.Link.Run(ctx, l.heard, l.requestSweep)
	running.Wait()
}

// Link returns the connection to Redis, which Run watches.
func (s *Store) Link() *redislink.Link { return s.link.Link }

// heard handles a message that a script has published to this server. It does not block.
func (l *link) heard(message string) {
	if len(message) != 1+8 {
		return
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

func (l *link) requestSweep(part int) {
	l.sweeps[part].Store(true)
	select {
	case l.swept <- struct{}{}:
	default:
	}
}

// wakeBurst bounds how many receivers are woken before a pause of wakePause. This limits
// a server to 10,000 looks per second.
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

// sweep wakes the receivers whose wakes may have been lost.
func (l *link) sweep(ctx context.Context) {
	for {
		select {
		case <-l.swept:
		case <-ctx.Done():
			return
		}
		for i := range l.Parts() {
			if !l.sweeps[i].Swap(false) {
				continue
			}
			if l.Cluster() {
				wakeSlowly(ctx, l.receivers.all(i))
				continue
			}
			for partition := range redislink.Partitions {
				wakeSlowly(ctx, l.receivers.all(partition))
			}
		}
	}
}

// remind wakes receivers that have not looked for a long time.
func (l *link) remind(ctx context.Context) {
	tick := time.NewTicker(time.Second / 8)
	defer tick.Stop()
	const each = 8 // partitions per tick; each has its turn every 4 seconds
	for first := 0; ; first = (first + each) % redislink.Partitions {
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
