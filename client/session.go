package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"inbox"
)

const (
	maxQueue    = 128              // messages received but not yet returned
	shortLived  = 10 * time.Second // a socket that ends sooner counts as cut off
	socketAgain = 5 * time.Minute  // how long to poll before trying another socket
)

// run fetches messages until ctx ends or receiving fails for good.
func (r *receiver) run(ctx context.Context) {
	var b backoff
	for ctx.Err() == nil && r.live() {
		err := r.session(ctx, &b)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, inbox.ErrBadCursor) && r.startOver(ctx) {
			continue
		}
		if !temporary(err) {
			r.fail(err)
			return
		}
		r.lost(ctx, err)
		wait := b.next(err)
		r.c.log.Debug("reconnecting", "in", wait, "after", err)
		r.rest(ctx, wait)
	}
}

// rest sleeps for d, or until the Client is closed.
func (r *receiver) rest(ctx context.Context, d time.Duration) {
	ctx, cancel := r.c.untilClosed(ctx)
	defer cancel()
	sleep(ctx, d)
}

// session receives over one socket until that ends, or makes one poll.
func (r *receiver) session(ctx context.Context, b *backoff) error {
	r.mu.Lock()
	poll := r.pollOnly || time.Now().Before(r.pollUntil)
	r.mu.Unlock()
	if poll {
		return r.poll(ctx, b)
	}
	err := r.fromSocket(ctx, b)
	if !errors.Is(err, errNoSocket) && !errors.Is(err, errLarge) {
		return err
	}
	if err := r.poll(ctx, b); err != nil {
		return err
	}
	r.c.log.Debug("sockets are blocked, polling instead")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pollUntil = time.Now().Add(socketAgain)
	return nil
}

// startOver handles a cursor that the server rejects. It reports false if the client had
// none to drop.
func (r *receiver) startOver(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil || r.acked == (inbox.Cursor{}) {
		return false
	}
	r.resetLocked(inbox.Cursor{})
	r.notifyLocked()
	return true
}

func (r *receiver) fromSocket(ctx context.Context, b *backoff) error {
	r.mu.Lock()
	after := r.acked
	r.forgetLocked(after)
	r.mu.Unlock()
	s, err := r.c.dial(ctx, after)
	if err != nil {
		return err
	}
	var acknowledging sync.WaitGroup
	defer acknowledging.Wait()
	defer s.close()
	first, err := s.read()
	if errors.Is(err, errSocketGone) || err == nil && first.Type != "opened" {
		return errNoSocket
	}
	if err == nil {
		err = r.handle(ctx, after, first)
	}
	if err != nil {
		return err
	}
	s.opened()
	r.c.socket.Store(s)
	defer r.c.socket.CompareAndSwap(s, nil)
	acknowledging.Go(func() { r.acknowledgeOn(s) })
	begin := time.Now()
	err = r.listen(ctx, after, s)
	lasted := time.Since(begin) >= shortLived
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case lasted:
		*b, r.cutOff = backoff{}, 0
	case errors.Is(err, errSocketGone):
		if r.cutOff++; r.cutOff == 3 {
			r.cutOff, r.pollUntil = 0, time.Now().Add(socketAgain)
		}
	}
	return err
}

// listen handles frames from a socket until it ends.
func (r *receiver) listen(ctx context.Context, after inbox.Cursor, s *socket) error {
	for {
		if err := r.untilRoom(s.ctx); err != nil {
			return errSocketGone
		}
		h, err := s.read()
		if err != nil {
			return err
		}
		switch h.Type {
		case "sent":
			s.answered(h.Key, nil)
		case "error":
			s.answered(h.Key, &Error{Status: h.Status, Code: h.Code, RetryAfter: seconds(h.RetryAfter)})
		default: // ignore frames of later versions
			if err := r.handle(ctx, after, h); err != nil {
				return err
			}
		}
	}
}

// handle processes the frames that concern the receiver.
func (r *receiver) handle(ctx context.Context, after inbox.Cursor, h serverFrame) error {
	switch h.Type {
	case "opened":
		at, err := inbox.ParseCursor(h.Cursor)
		if err != nil {
			return errNoSocket
		}
		return r.opened(ctx, "socket", after, at, h.Reset)
	case "message":
		m, err := h.decode()
		if err != nil {
			return errNoSocket
		}
		r.take(ctx, m)
	}
	return nil
}

// acknowledgeOn sends acknowledgements on a socket for as long as it lasts.
func (r *receiver) acknowledgeOn(s *socket) {
	var told inbox.Cursor
	for {
		r.mu.Lock()
		upTo, news, changed := r.acked, r.acked != r.confirmed && r.acked != told, r.changed
		if news {
			r.forgetLocked(upTo)
		}
		r.mu.Unlock()
		if news {
			if s.acknowledge(upTo) != nil {
				return
			}
			told = upTo
			continue
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return
		}
	}
}

// untilRoom waits while the queue is full. A server that follows the protocol never fills
// it.
func (r *receiver) untilRoom(ctx context.Context) error {
	for {
		r.mu.Lock()
		full, changed := len(r.queue) >= maxQueue, r.changed
		r.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
