package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"inbox"
)

const (
	maxWait   = 25 * time.Second       // of a long poll; the server may cut it
	atOnce    = 32                     // messages in an answer
	tooQuick  = 250 * time.Millisecond // for a long poll that brought nothing
	keepAlive = 20 * time.Second       // while polled messages are processed
	lookAgain = time.Second            // meanwhile, for others who wait
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
	wait := maxWait
	if !processed || r.transport != transport {
		wait = 0 // first see whether anybody is there
	}
	r.mu.Unlock()
	begin := time.Now()
	a, err := r.c.do(ctx, request{
		method: http.MethodGet,
		query: "after=" + after.String() + "&limit=" + strconv.Itoa(atOnce) +
			"&wait=" + strconv.Itoa(int(wait/time.Second)),
		json: true,
		wait: wait,
	})
	if err != nil {
		return err
	}
	at, messages, err := a.batch()
	if err != nil {
		return err
	}
	news := r.opened(ctx, transport, at)
	r.confirm(after)
	for _, m := range messages {
		news = r.came(ctx, m) || news
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

// batch reads the answer to a poll: the position before the messages, and them.
func (a answer) batch() (at inbox.Cursor, messages []inbox.Message, err error) {
	if a.status == http.StatusNoContent {
		if at, err = inbox.ParseCursor(a.header.Get("Inbox-Cursor")); err != nil {
			err = errAnswer
		}
		return at, nil, err
	}
	var got batch
	if json.Unmarshal(a.body, &got) != nil || len(got.Messages) == 0 {
		return at, nil, errAnswer
	}
	for _, m := range got.Messages {
		decoded, err := m.decode()
		if err != nil {
			return at, nil, err
		}
		messages = append(messages, decoded)
	}
	at = messages[0].Cursor
	at.Seq--
	return at, messages, nil
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
