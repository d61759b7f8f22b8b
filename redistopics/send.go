package redistopics

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

const (
	sendBatch   = 256 // publications in one round trip
	sendTimeout = 2 * time.Second
)

// enqueueLocked queues a publication for send, or drops it if Redis is unavailable or too
// slow. The lock of p keeps the publications of a topic in order.
func (p *part) enqueueLocked(channel string, body []byte) {
	t := p.topics
	if t.link.Part(uint8(p.number)).Down() || t.outSize.Add(int64(len(body))) > outBytes {
		t.outSize.Add(int64(-len(body)))
		p.dropLocked(1)
		return
	}
	select {
	case t.out <- publication{p, channel, body}:
	default:
		t.outSize.Add(int64(-len(body)))
		p.dropLocked(1)
	}
}

// dropLocked counts n publications that do not reach other servers.
func (p *part) dropLocked(n int) {
	p.topics.dropped.Add(uint64(n))
	p.missed = true
}

// send publishes the queue out until ctx ends. One round trip carries everything that was
// queued during the previous one.
func (t *Topics) send(ctx context.Context) {
	batch := make([]publication, 0, sendBatch)
	for {
		select {
		case next := <-t.out:
			batch = append(batch, next)
		case <-ctx.Done():
			return
		}
		for len(batch) < sendBatch && len(t.out) > 0 {
			batch = append(batch, <-t.out)
		}
		c := t.link.Client()
		// The client may read the commands of a round trip that timed out until Redis answers,
		// so each round trip has its own.
		commands := make(rueidis.Commands, 0, len(batch))
		for _, next := range batch {
			t.outSize.Add(int64(-len(next.body)))
			message := t.link.Server() + rueidis.BinaryString(next.body)
			commands = append(commands, c.B().Spublish().Channel(next.channel).Message(message).Build())
		}
		sending, cancel := context.WithTimeout(ctx, sendTimeout)
		for i, r := range c.DoMulti(sending, commands...) {
			if r.Error() != nil && ctx.Err() == nil {
				t.link.Doubt()
				p := batch[i].part
				p.mu.Lock()
				p.dropLocked(1)
				p.mu.Unlock()
			}
		}
		cancel()
		clear(batch)
		batch = batch[:0]
	}
}
