package inboxhttp

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"inbox"
	"inbox/internal/socket"
)

// receive is GET: a poll, a stream or a socket.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request) error {
	if socket.IsUpgrade(r.Header) {
		return h.socket(w, r)
	}
	p, err := h.peer(r)
	if err != nil {
		return err
	}
	if err := socket.NoBody(w, r); err != nil {
		return refusedHandshake(err)
	}
	accepted := accept(r.Header)
	if accepted == eventStream {
		return h.stream(w, r, p)
	}
	a, err := h.ask(r, accepted == applicationJSON)
	if err != nil {
		return err
	}
	if h.Draining() && a.limit > 0 {
		return inbox.ErrDraining
	}
	return h.poll(w, r, p, a)
}

// deliver answers a poll with what a look has found.
func (h *Handler) deliver(w http.ResponseWriter, c client, p inbox.Peer, waker *inbox.Waker, a ask, b inbox.Batch, err error) error {
	if err != nil {
		return err
	}
	p.Admitted = true // by the look
	if len(b.Messages) == 0 {
		setCursor(w.Header(), b)
		h.answer(w, a.transport(), http.StatusNoContent)
		return nil
	}
	size := 0
	b.Messages, size = inbox.First(b.Messages, maxAnswer)
	small := size <= kernelBuffers && !c.http2
	if !small {
		size += answerBuffers
		if err := h.InFlight.Take(c.addr, size); err != nil {
			return err
		}
		defer h.InFlight.Give(c.addr, size)
	}
	b.Cursor = b.Messages[len(b.Messages)-1].Cursor
	setCursor(w.Header(), b)
	if a.pop {
		return h.pop(w, c, p, waker, a, b, small)
	}
	h.Meter.Request(a.transport(), http.StatusOK)
	_ = writeBatch(w, b, a.json, true) // or the client is gone, and comes again
	return nil
}

// popTimeout bounds how long a pop may hide messages while it writes its answer. The
// kernel takes such an answer at once, unless the client has left earlier ones unread.
const popTimeout = time.Second

// pop writes messages and then acknowledges them for their owner: what was not
// flushed to a connection that lives stays in the inbox.
func (h *Handler) pop(w http.ResponseWriter, c client, p inbox.Peer, waker *inbox.Waker, a ask, b inbox.Batch, small bool) error {
	if !c.present() {
		return context.Canceled
	}
	// A small answer is one write, and its messages are hidden meanwhile. The end of any
	// other goes out after the acknowledgement, so its length stays open. A client that
	// has read its answer, and asks again over another connection, would find the same
	// messages.
	var end func(delivered bool)
	if small {
		end = h.Store.Take(c.ctx, p, b, waker)
	}
	if end == nil && waker != nil && waker.Err() != nil {
		return waker.Err() // it takes nothing
	}
	h.Meter.Request(a.transport(), http.StatusOK)
	rc := http.NewResponseController(w)
	oneWrite, delivered := end != nil, false
	if oneWrite {
		rc.SetWriteDeadline(time.Now().Add(popTimeout))
	} else {
		end = func(delivered bool) {
			if delivered {
				h.remove(c.ctx, p, b.Cursor, waker)
			}
		}
	}
	defer func() { end(delivered) }()
	if writeBatch(w, b, a.json, oneWrite) == nil && rc.Flush() == nil {
		delivered = c.delivered()
	}
	return nil
}

// remove acknowledges what a pop has delivered, but not for a receiver that was ended
// meanwhile, and opens no inbox that was closed.
func (h *Handler) remove(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, waker *inbox.Waker) {
	// Not under the request's context: what was delivered is not to come again.
	_, err := h.Store.Acknowledge(context.WithoutCancel(ctx), p, upTo, waker)
	if err != nil && !errors.Is(err, inbox.ErrReplaced) && !errors.Is(err, inbox.ErrClosed) && h.removeFaults.Allow() {
		h.Log.Warn("a delivered message could not be removed and may be delivered again", "error", err)
	}
}

func setLength(header http.Header, size int) {
	header["Content-Length"] = []string{strconv.Itoa(size)}
}

func setCursor(header http.Header, b inbox.Batch) {
	header["Inbox-Cursor"] = []string{b.Cursor.String()}
	if b.Reset {
		header.Set("Inbox-Reset", "true")
	}
}

const (
	// maxAnswer bounds the bodies in one answer, in bytes, if there is more than one:
	// while its client does not read, they stay in memory, also when they have left the
	// inbox by then.
	maxAnswer = 64 << 10

	// kernelBuffers is a size of bodies that the kernel takes over HTTP/1, whether or not
	// the client reads: nothing is held for it. HTTP/2 has windows.
	kernelBuffers = 4 << 10

	// answerBuffers is what an answer holds beside its messages.
	answerBuffers = 2 * pieceSize
)

// writeBatch writes a batch as its reader asked for it, with the headers that tell
// how to read it and, if it is to be sized and is one piece, its length. It lets go of
// each message that it has written.
func writeBatch(w http.ResponseWriter, b inbox.Batch, asJSON, sized bool) error {
	header := w.Header()
	if !asJSON {
		m := &b.Messages[0]
		header["Content-Type"] = octetStream
		header["X-From"] = []string{encodeFrom(m.From)}
		if sized {
			setLength(header, len(m.Body))
		}
		_, err := w.Write(m.Body)
		return err
	}
	header.Set("Content-Type", "application/json")
	p := newPieces(func(piece []byte) error {
		_, err := w.Write(piece)
		return err
	})
	defer p.free()
	p.buf = appendBatchStart(p.buf, b.Cursor)
	for i := range b.Messages {
		if i > 0 {
			p.buf = append(p.buf, ',')
		}
		p.message("", &b.Messages[i])
		b.Messages[i] = inbox.Message{}
	}
	p.buf = appendBatchEnd(p.buf, b.Reset)
	if sized && !p.wrote {
		setLength(header, len(p.buf))
	}
	return p.flush()
}

var octetStream = []string{"application/octet-stream"}

// encodeFrom percent-encodes what a header cannot carry, and the percent sign,
// so that decodeURIComponent gives every id back.
func encodeFrom(id string) string {
	const hex = "0123456789ABCDEF"
	plain := func(c byte) bool { return c >= '!' && c <= '~' && c != '%' }
	n := 0
	for i := range len(id) {
		if !plain(id[i]) {
			n++
		}
	}
	if n == 0 {
		return id
	}
	encoded := make([]byte, 0, len(id)+2*n)
	for i := range len(id) {
		if c := id[i]; plain(c) {
			encoded = append(encoded, c)
		} else {
			encoded = append(encoded, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(encoded)
}
