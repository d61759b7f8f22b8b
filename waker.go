package inbox

import "sync/atomic"

// A Waker is what a [Store] holds of a receiver: it can be woken, and told why
// its stay has ended. It knows nothing of an inbox, so one connection can wait
// for several things through several wakers.
//
// A wake is a hint to look again; the store is the truth. A lost wake costs time
// and never a message.
//
// All methods are safe for concurrent use, and none of them blocks.
type Waker struct {
	notify atomic.Pointer[func()]
	early  atomic.Bool // a wake came before Notify
	ended  atomic.Pointer[error]
}

// NewWaker returns a Waker that calls notify for every wake. notify must not
// block. If it is nil, wakes are remembered until [Waker.Notify].
func NewWaker(notify func()) *Waker {
	w := &Waker{}
	if notify != nil {
		w.notify.Store(&notify)
	}
	return w
}

// Notify replaces the function that a wake calls. It calls notify at once if the
// Waker was woken while it had none. A wake that comes at this moment calls the
// new function, and perhaps the old one too.
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
		// Notify may have replaced it before it was called.
		if later := w.notify.Load(); later != notify {
			(*later)()
		}
		return
	}
	w.early.Store(true)
	// Notify may have come in between, too early to see that.
	if notify := w.notify.Load(); notify != nil && w.early.Swap(false) {
		(*notify)()
	}
}

// End wakes the receiver and fails its later operations with why: ErrReplaced or
// ErrClosed. The first reason stays.
func (w *Waker) End(why error) {
	w.ended.CompareAndSwap(nil, &why)
	w.Wake()
}

// Err returns the reason given to End, or nil.
func (w *Waker) Err() error {
	if why := w.ended.Load(); why != nil {
		return *why
	}
	return nil
}
