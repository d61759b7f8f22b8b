package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"inbox"
)

// farewell is how long the last acknowledgement may take.
const farewell = 3 * time.Second

// receiver keeps messages until they are handed over. While somebody asks for
// them, a goroutine fetches more.
type receiver struct {
	c        *Client
	pollOnly bool

	mu      sync.Mutex      // guards what follows
	changed chan struct{}   // closed, and made anew, when something below has changed
	queue   []inbox.Message // not handed over yet; one without a cursor stands for a reset
	stale   int             // of them, those of an earlier life: nobody waits for their acknowledgement

	// Cursors are opaque: they are told apart, and not compared for order.
	handed    inbox.Cursor   // of the last message handed over, unless it is stale
	inHand    bool           // it is not acknowledged yet
	acked     inbox.Cursor   // how far the caller has come, in the inbox's present life
	confirmed inbox.Cursor   // how far the server is sure to know of
	came      []inbox.Cursor // of what may come again: it came after what the server was told last

	asking    int                // calls of Receive, and loops over All
	waiting   int                // of them, those that have nothing to process
	cancel    context.CancelFunc // ends the goroutine; nil if there is none
	done      chan struct{}      // closed when it has ended
	idle      *time.Timer        // ends it when nobody asks again
	ended     error              // why nothing will ever come again
	transport string             // empty without contact
	since     time.Time          // when contact was lost, or the goroutine began
	last      error              // the last failure since

	pollUntil time.Time // then a socket is tried again
	cutOff    int       // sockets in a row that did not last
}

func (r *receiver) init(c *Client, config Config) {
	r.c, r.pollOnly = c, config.PollOnly
	r.changed = make(chan struct{})
	r.acked = config.After
}

func (r *receiver) tellLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// join makes sure that messages are fetched until part is called.
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

// part ends the fetching, after a while, if nobody asks any more.
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

// leave ends the fetching if nobody asks. What was acknowledged on a socket may
// not have been read there, so it is said once more.
func (r *receiver) leave() {
	r.mu.Lock()
	upTo := r.acked
	tell := r.asking == 0 && upTo != r.confirmed && (r.transport != "" || errors.Is(r.ended, inbox.ErrReplaced))
	r.mu.Unlock()
	if tell {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		err := r.c.acknowledge(ctx, upTo)
		if errors.Is(err, inbox.ErrRateLimited) { // or the messages come again
			err = r.c.persist(ctx, false, func(ctx context.Context) error { return r.c.acknowledge(ctx, upTo) })
		}
		if err == nil {
			r.confirm(upTo)
		}
	}
	r.stop(false)
}

// stop ends the fetching, and waits for its end. Unless forced, it does nothing
// if somebody asks, or if Close is about to do it.
func (r *receiver) stop(force bool) {
	r.mu.Lock()
	cancel, done := r.cancel, r.done
	if cancel == nil || !force && (r.asking > 0 || r.c.life.Err() != nil) {
		r.mu.Unlock()
		return
	}
	r.cancel, r.transport = nil, ""
	cancel() // under the lock: from now on the goroutine changes nothing
	r.mu.Unlock()
	<-done
}

// endedInTime waits a moment for the fetching to end by itself.
func (r *receiver) endedInTime() bool {
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done == nil {
		return true
	}
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// life returns a cursor of the inbox's present life. While nothing is received it returns
// none: the inbox may have expired, and a send may have opened it again.
func (r *receiver) life() inbox.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.transport == "" {
		return inbox.Cursor{}
	}
	return r.confirmed
}

// goesOn reports whether there may come something yet.
func (r *receiver) goesOn() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended == nil
}

// What follows is what the goroutine tells. Once its context has ended it changes
// nothing any more: there may be another.

// opened notes that the server was asked for what comes after a cursor, and at
// which position, perhaps of another life, the inbox was found.
func (r *receiver) opened(ctx context.Context, transport string, after, at inbox.Cursor, reset bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if r.transport != transport {
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
	r.tellLocked()
}

// resetLocked goes on in another life of the inbox.
func (r *receiver) resetLocked(at inbox.Cursor) {
	r.queue = append(r.queue, inbox.Message{})
	r.stale, r.handed = len(r.queue), inbox.Cursor{}
	r.acked, r.confirmed, r.came = at, at, nil
}

// take puts a message into the queue, unless it came before.
func (r *receiver) take(ctx context.Context, m inbox.Message) (fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil || slices.Contains(r.came, m.Cursor) {
		return false
	}
	r.queue = append(r.queue, m)
	r.came = append(r.came, m.Cursor)
	r.tellLocked()
	return true
}

// tellingLocked notes what the server is about to be told on the way by which
// messages come: those up to there do not come again.
func (r *receiver) tellingLocked(upTo inbox.Cursor) {
	if i := slices.Index(r.came, upTo); i >= 0 {
		r.came = slices.Delete(r.came, 0, i+1)
	}
}

// confirm notes what the server knows. An older position does no harm: it is only
// told the newer one again.
func (r *receiver) confirm(upTo inbox.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed = upTo
}

// lost notes a failure that may pass.
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
	r.tellLocked()
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
		r.queue, r.stale = nil, 0 // they are for another receiver, or for nobody
	}
	r.tellLocked()
}
