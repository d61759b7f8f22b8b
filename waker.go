package inbox

import "sync/atomic"

// A Waker is a [Store]'s handle on a receiver: the store wakes it when a message arrives,
// and ends it with a reason when its stay is over. It does not refer to an inbox, so one
// connection can wait for several things with several wakers.
//
// A wake is a hint to look again; the store is the truth. Losing a wake delays a message
// but never loses it.
//
// All methods are safe for concurrent use, and none of them blocks.
type Waker struct {
	notify atomic.Pointer[func()]
	early  atomic.Bool // woken before Notify set a function
	ended  atomic.Pointer[error]
}

// NewWaker returns a Waker that calls notify for every wake. notify must not block. If it
// is nil, the Waker remembers a wake until [Waker.Notify].
func NewWaker(notify func()) *Waker {
	w := &Waker{}
	if notify != nil {
		w.notify.Store(&notify)
	}
	return w
}

// Notify replaces the function that a wake calls. If the Waker was woken while it had no
// function, Notify calls the new one immediately. A concurrent wake calls the new
// function, and possibly the old one too.
func (w *Waker) Notify(notify func()) {
	w.notify.Store(&notify)
	if w.early.Swap(false) {
		notify()
	}
}

// Wake makes the receiver look again.
func (w *Waker) Wake() {
	notify := w.notify.Load()
	if notify != nil {
		(*notify)()
		// Notify may have replaced the function after it was loaded above.
		if later := w.notify.Load(); later != notify {
			(*later)()
		}
		return
	}
	w.early.Store(true)
	// Notify may have run in between without seeing early.
	if notify := w.notify.Load(); notify != nil && w.early.Swap(false) {
		(*notify)()
	}
}

// End wakes the receiver and makes its later operations fail with why, which is
// ErrReplaced or ErrClosed. The first reason wins.
func (w *Waker) End(why error) {
	w.ended.CompareAndSwap(nil, &why)
	w.Wake()
}

// Err returns the reason passed to End, or nil.
func (w *Waker) Err() error {
	if why := w.ended.Load(); why != nil {
		return *why
	}
	return nil
}
