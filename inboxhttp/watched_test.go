package inboxhttp_test

import (
	"context"
	"sync"

	"inbox"
)

// watchedStore reports the waiting receivers to a test, which can act between the steps of a
// delivery.
type watchedStore struct {
	inbox.Store
	*watch
}

// watch is shared by all stores of the same inboxes.
type watch struct {
	mu       sync.Mutex // guards the fields below
	count    map[string]int
	seen     map[*inbox.Waker]bool
	attached chan struct{} // closed when a receiver attaches

	looked func(id string, found int)
	taken  func(id string) // called before the end of a pop that hides messages
	missed int             // looks that found nothing because of such a pop
}

func (s *watchedStore) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	b, err := s.Store.Look(ctx, p, after, limit, w)
	s.mu.Lock()
	if b.Taken != nil {
		s.missed++
	}
	s.mu.Unlock()
	if w == nil || err != nil {
		return b, err
	}
	s.mu.Lock()
	if !s.seen[w] {
		if s.count == nil {
			s.count, s.seen = make(map[string]int), make(map[*inbox.Waker]bool)
		}
		s.count[p.ID]++
		s.seen[w] = true
		if s.attached != nil {
			close(s.attached)
			s.attached = nil
		}
	}
	looked := s.looked
	s.mu.Unlock()
	if looked != nil {
		looked(p.ID, len(b.Messages))
	}
	return b, err
}

func (s *watchedStore) Take(ctx context.Context, p inbox.Peer, b inbox.Batch, w *inbox.Waker) func(bool) {
	end := s.Store.Take(ctx, p, b, w)
	s.mu.Lock()
	taken := s.taken
	s.mu.Unlock()
	if end == nil || taken == nil {
		return end
	}
	return func(delivered bool) {
		taken(p.ID)
		end(delivered)
	}
}

// beforeEnd sets a function that is called when a pop has written its answer but not
// ended.
func (s *watch) beforeEnd(f func(id string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = f
}

// misses returns how many looks found nothing because of a pop.
func (s *watch) misses() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missed
}

// hook sets a function that is called after a look of a receiver, before its result is
// used.
func (s *watch) hook(f func(id string, found int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = f
}

// receivers returns how many receivers have attached to an inbox so far.
func (s *watch) receivers(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[id]
}

// untilReceivers waits until n receivers have attached to an inbox, or until done is
// closed.
func (s *watch) untilReceivers(id string, n int, done <-chan struct{}) {
	for {
		s.mu.Lock()
		if s.count[id] >= n {
			s.mu.Unlock()
			return
		}
		if s.attached == nil {
			s.attached = make(chan struct{})
		}
		attached := s.attached
		s.mu.Unlock()
		select {
		case <-attached:
		case <-done:
			return
		}
	}
}
