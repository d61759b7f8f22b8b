package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"inbox"
)

const (
	maxWait     = 25 * time.Second       // of a long poll; the server may cut it
	maxMessages = 32                     // in an answer
	tooQuick    = 250 * time.Millisecond // for a long poll that brought nothing
	keepAlive   = 20 * time.Second       // while polled messages are processed
	lookAgain   = time.Second            // meanwhile, for others who wait
)

// poll is one long poll. It asks for what comes after all that was processed, and
// waits only if that is all that came.
func (r *receiver) poll(ctx context.Context, b *backoff) error {
	processed, err := r.untilProcessed(ctx)
	if err != nil {
		return err
	}
	const transport = "long poll"
	r.mu.Lock()
	after := r.acked
	r.tellingLocked(after)
	limit, wait := maxMessages, maxWait
	switch {
	case after == inbox.Cursor{}:
		// First learn where the inbox is. From there on a reset is told, even if no
		// message has been processed until then.
		limit, wait = 0, 0
	case !processed || r.transport != transport:
		wait = 0 // first see whether anybody is there
	}
	r.mu.Unlock()
	begin := time.Now()
	got, err := r.c.ask(ctx, after, limit, wait)
	if errors.Is(err, errLarge) {
		got, err = r.c.ask(ctx, after, 1, wait)
	}
	if err == nil && got.reset && len(got.messages) > 0 {
		// Where their inbox began is in an answer without messages. They come again.
		got, err = r.c.ask(ctx, after, 0, 0)
	}
	if err != nil {
		return err
	}
	r.opened(ctx, transport, after, got.at, got.reset)
	news := got.reset
	for _, m := range got.messages {
		news = r.take(ctx, m) || news
	}
	waited := time.Since(begin) >= tooQuick
	if wait > 0 && !waited && !news {
		return errQuick
	}
	if waited || news {
		*b = backoff{}
	}
	return nil
}

// got is the answer to a poll.
type got struct {
	at       inbox.Cursor // without messages, the position up to which all is acknowledged
	reset    bool
	messages []inbox.Message
}

// ask asks for what comes after a cursor. With a limit of 0 it learns the
// position, and replaces nobody.
func (c *Client) ask(ctx context.Context, after inbox.Cursor, limit int, wait time.Duration) (got, error) {
	a, err := c.do(ctx, request{
		method: http.MethodGet,
		query: "after=" + after.String() + "&limit=" + strconv.Itoa(limit) +
			"&wait=" + strconv.Itoa(int(wait/time.Second)),
		json:    true,
		wait:    wait,
		success: isBatch,
	})
	if err != nil {
		return got{}, err
	}
	if a.status == http.StatusNoContent {
		at, err := inbox.ParseCursor(a.header.Get("Inbox-Cursor"))
		if err != nil {
			return got{}, err
		}
		return got{at: at, reset: a.header.Get("Inbox-Reset") != ""}, nil
	}
	var b batch
	if json.Unmarshal(a.body, &b) != nil || len(b.Messages) == 0 || limit == 0 {
		return got{}, notInbox(a)
	}
	g := got{reset: b.Reset}
	for _, m := range b.Messages {
		decoded, err := m.decode()
		if err != nil {
			return got{}, notInbox(a)
		}
		g.messages = append(g.messages, decoded)
	}
	return g, nil
}

// untilProcessed waits until all that came is acknowledged, and keeps the inbox
// from expiring meanwhile. It reports false if others wait for messages while one
// is still being processed.
func (r *receiver) untilProcessed(ctx context.Context) (bool, error) {
	begin := time.Now()
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		r.mu.Lock()
		upTo, changed, others := r.acked, r.changed, r.waiting > 0
		processed, err := len(r.queue) == 0 && !r.inHand, r.ended
		r.mu.Unlock()
		if processed || err != nil {
			return processed, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false, ctx.Err()
		case <-ticker.C:
			if others {
				return false, nil
			}
			if time.Since(begin) >= keepAlive {
				begin = time.Now()
				// Why it failed, if so, the next poll will find out.
				if r.c.acknowledge(ctx, upTo) == nil {
					r.confirm(upTo)
				}
			}
		}
	}
}
