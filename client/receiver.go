package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"inbox"
)

// finalAckTimeout bounds the last acknowledgement before the client disconnects.
const finalAckTimeout = 3 * time.Second

// receiver queues messages until a caller takes them. A goroutine fetches them while a
// call to Receive or All is active, and for linger after it.
type receiver struct {
	c        *Client
	pollOnly bool

	mu      sync.Mutex      // guards the fields below
	changed chan struct{}   // closed and replaced whenever a field below changes
	queue   []inbox.Message // not yet returned; a message with a zero cursor stands for a reset
	stale   int             // leading elements of queue from an earlier life, which are never acknowledged

	// Cursors are opaque: they are compared for equality only, never for order.
	handed    inbox.Cursor   // of the last message returned, unless it is stale
	inHand    bool           // that message is not acknowledged yet
	acked     inbox.Cursor   // last message that the caller processed in the present life
	confirmed inbox.Cursor   // last acknowledgement that the server is known to have
	events    inbox.Cursor   // last event from the server that nothing in the queue follows, if not acked yet
	came      []inbox.Cursor // messages received since the last acknowledgement was sent; the server may send them again

	asking    int                // active calls of Receive and loops over All
	waiting   int                // callers among them that have no message to process
	cancel    context.CancelFunc // ends the goroutine; nil if none runs
	done      chan struct{}      // closed when the goroutine has ended
	idle      *time.Timer        // ends the goroutine after linger
	ended     error              // why receiving failed for good
	transport string             // empty while disconnected
	since     time.Time          // when the connection was lost, or the goroutine began
	last      error              // last failure since then

	pollUntil time.Time // do not try a socket before
	cutOff    int       // short-lived sockets in a row
}

func (r *receiver) init(c *Client, config Config) {
	r.c, r.pollOnly = c, config.PollOnly
	r.changed = make(chan struct{})
	r.acked = config.After
}

func (r *receiver) notifyLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// join starts the fetching goroutine if it is not running. Each join needs a part.
func (r *receiver) join() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking++
	if r.idle != nil {
		r.idle.Stop()
		r.idle = nil
	}
	if r.cancel != nil || r.ended != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.cancel, r.done = cancel, done
	r.transport, r.since, r.last = "", time.Now(), nil
	go func() {
		defer close(done)
		r.run(ctx)
	}()
}

// part undoes a join. When the last caller is gone, fetching ends after the given time.
func (r *receiver) part(after time.Duration) {
	r.mu.Lock()
	r.asking--
	if r.asking == 0 && after > 0 {
		r.idle = time.AfterFunc(after, r.leave)
	}
	r.mu.Unlock()
	if after == 0 {
		r.leave()
	}
}

// leave ends fetching if there is no active caller. The server may not have read an
// acknowledgement that was sent on the socket, so leave first sends it again by a
// request.
func (r *receiver) leave() {
	r.mu.Lock()
	upTo := r.acked
	tell := r.asking == 0 && upTo != r.confirmed && (r.transport != "" || errors.Is(r.ended, inbox.ErrReplaced))
	r.mu.Unlock()
	if tell {
		ctx, cancel := context.WithTimeout(context.Background(), finalAckTimeout)
		defer cancel()
		err := r.c.acknowledge(ctx, upTo)
		if errors.Is(err, inbox.ErrRateLimited) { // otherwise the messages would be delivered again
			err = r.c.persist(ctx, false, func(ctx context.Context) error { return r.c.acknowledge(ctx, upTo) })
		}
		if err == nil {
			r.confirm(upTo)
		}
	}
	r.stop(false)
}

// stop ends the goroutine and waits for it. Unless force is set, it does nothing while a
// call is active or Close is running.
func (r *receiver) stop(force bool) {
	r.mu.Lock()
	cancel, done := r.cancel, r.done
	if cancel == nil || !force && (r.asking > 0 || r.c.life.Err() != nil) {
		r.mu.Unlock()
		return
	}
	r.cancel, r.transport = nil, ""
	cancel() // while locked: the goroutine changes nothing after this
	r.mu.Unlock()
	<-done
}

// endedInTime waits up to finalAckTimeout for the goroutine to end by itself.
func (r *receiver) endedInTime() bool {
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done == nil {
		return true
	}
	timer := time.NewTimer(finalAckTimeout)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// life returns a cursor of the inbox's present life. It returns the zero cursor while
// disconnected: the inbox may have expired, and a send may have opened it again.
func (r *receiver) life() inbox.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.transport == "" {
		return inbox.Cursor{}
	}
	return r.confirmed
}

// live reports whether receiving has not failed for good.
func (r *receiver) live() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended == nil
}

// The goroutine reports through the methods below. They do nothing once its context has
// ended, since another goroutine may have taken over.

// opened records a connection that resumes after the cursor after. The inbox is at
// position at; with reset, that position belongs to a new life. A new connection joins all
// rooms again, since the inbox may have ended in between.
func (r *receiver) opened(ctx context.Context, transport string, after, at inbox.Cursor, reset bool) error {
	if isNew := r.note(ctx, transport, after, at, reset); isNew || reset {
		return r.c.rooms.rejoin(ctx)
	}
	return nil
}

func (r *receiver) note(ctx context.Context, transport string, after, at inbox.Cursor, reset bool) (isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	isNew = r.transport != transport
	if isNew {
		r.c.log.Debug("receiving", "transport", transport)
	}
	r.transport, r.last = transport, nil
	switch {
	case reset:
		r.resetLocked(at)
	case r.acked == inbox.Cursor{}:
		r.acked, r.confirmed = at, at
	default:
		r.confirmed = after
	}
	r.notifyLocked()
	return isNew
}

// resetLocked continues at a position in a new life of the inbox.
func (r *receiver) resetLocked(at inbox.Cursor) {
	r.queue = append(r.queue, inbox.Message{})
	r.stale, r.handed = len(r.queue), inbox.Cursor{}
	r.acked, r.confirmed, r.came, r.events = at, at, nil, inbox.Cursor{}
}

// take appends a message to the queue. It reports false if m is a duplicate.
func (r *receiver) take(ctx context.Context, m inbox.Message) (fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil || slices.Contains(r.came, m.Cursor) {
		return false
	}
	r.came = append(r.came, m.Cursor)
	if e, ok := m.Event(); ok || m.FromServer() {
		r.events = m.Cursor
		r.acknowledgeEventsLocked()
		r.c.rooms.event(e)
	} else {
		r.queue = append(r.queue, m)
		r.events = inbox.Cursor{} // acknowledging the message includes them
	}
	r.notifyLocked()
	return true
}

// acknowledgeEventsLocked marks events as processed, unless that would include a message
// that is not.
func (r *receiver) acknowledgeEventsLocked() {
	if len(r.queue) == 0 && !r.inHand && r.events != (inbox.Cursor{}) {
		r.acked, r.events = r.events, inbox.Cursor{}
	}
}

// end returns a channel that is closed at the next change, and why receiving failed for good.
func (r *receiver) end() (changed <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed, r.ended
}

// forgetLocked notes that an acknowledgement up to upTo is about to be sent. The server
// does not send the messages before it again, so they no longer matter for finding
// duplicates.
func (r *receiver) forgetLocked(upTo inbox.Cursor) {
	if i := slices.Index(r.came, upTo); i >= 0 {
		r.came = slices.Delete(r.came, 0, i+1)
	}
}

// confirm records what the server has acknowledged. Recording an older position is
// harmless: the newer one is sent again.
func (r *receiver) confirm(upTo inbox.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed = upTo
}

// lost records a temporary failure.
func (r *receiver) lost(ctx context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if r.transport != "" {
		r.transport, r.since = "", time.Now()
	}
	r.last = err
	r.notifyLocked()
}

// fail ends receiving for good.
func (r *receiver) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ended = err
	}
	r.transport = ""
	if errors.Is(err, inbox.ErrReplaced) || errors.Is(err, inbox.ErrClosed) {
		r.queue, r.stale = nil, 0 // they belong to another receiver now, or are gone
	}
	r.notifyLocked()
}
