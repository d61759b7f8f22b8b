package inboxhttp

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"inbox"
	"inbox/internal/flight"
	"inbox/internal/socket"
)

// receive handles GET: a poll, a stream or a socket.
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
	q, err := h.pollQuery(r, accepted == applicationJSON)
	if err != nil {
		return err
	}
	if h.Draining() && q.limit > 0 {
		return inbox.ErrDraining
	}
	return h.poll(w, r, p, q)
}

// deliver answers a poll with the result of a look.
func (h *Handler) deliver(w http.ResponseWriter, c client, p inbox.Peer, waker *inbox.Waker, q pollQuery, b inbox.Batch, err error) error {
	if err != nil {
		return err
	}
	p.Admitted = true // the look has accepted the secret
	if len(b.Messages) == 0 {
		setCursor(w.Header(), b)
		h.answer(w, q.transport(), http.StatusNoContent)
		return nil
	}
	size := 0
	b.Messages, size = inbox.First(b.Messages, maxAnswer)
	held := flight.Answer(size, c.http2)
	if held > 0 {
		if err := h.InFlight.Take(c.addr, held); err != nil {
			return err
		}
		defer h.InFlight.Give(c.addr, held)
	}
	b.Cursor = b.Messages[len(b.Messages)-1].Cursor
	setCursor(w.Header(), b)
	if q.pop {
		return h.pop(w, c, p, waker, q, b, held == 0)
	}
	h.Meter.Request(q.transport(), http.StatusOK)
	_ = writeBatch(w, b, q.json, true) // on an error, the client has left and will retry
	return nil
}

// popTimeout bounds how long a pop may hide messages while it writes. The kernel accepts
// such a small answer immediately unless the client has left earlier answers unread.
const popTimeout = time.Second

// pop writes messages and then acknowledges them on the client's behalf. If the flush
// fails or the connection is gone, they stay in the inbox.
func (h *Handler) pop(w http.ResponseWriter, c client, p inbox.Peer, waker *inbox.Waker, q pollQuery, b inbox.Batch, small bool) error {
	if !c.present() {
		return context.Canceled
	}
	// A small answer goes out in one write, while Take hides its messages. Any longer
	// answer ends only after the acknowledgement, so it is chunked. Otherwise a client
	// that has read the whole answer and asks again over another connection could receive
	// the same messages.
	var end func(delivered bool)
	if small {
		end = h.Store.Take(c.ctx, p, b, waker)
	}
	if end == nil && waker != nil && waker.Err() != nil {
		return waker.Err() // a replaced or closed receiver takes nothing
	}
	h.Meter.Request(q.transport(), http.StatusOK)
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
	if writeBatch(w, b, q.json, oneWrite) == nil && rc.Flush() == nil {
		delivered = c.delivered()
	}
	return nil
}

// remove acknowledges what a pop has delivered. If the receiver was replaced or the inbox
// closed meanwhile, it does nothing.
func (h *Handler) remove(ctx context.Context, p inbox.Peer, upTo inbox.Cursor, waker *inbox.Waker) {
	// Detached from the request: a delivered message must not be delivered twice because
	// the client has left.
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

// maxAnswer bounds the bodies in one answer, in bytes, unless there is only one. They stay in
// memory until the client reads them, even after another request has acknowledged them.
const maxAnswer = 64 << 10

// writeBatch writes a batch, as JSON or raw, with Content-Type and the other headers of
// the format. If sized is true and the answer is a single piece, it also sets
// Content-Length. It drops its reference to each JSON message that it has written.
func writeBatch(w http.ResponseWriter, b inbox.Batch, asJSON, sized bool) error {
	header := w.Header()
	if !asJSON {
		m := &b.Messages[0]
		if e, ok := m.Event(); ok {
			header.Set("Content-Type", "application/json")
			header.Set("Inbox-Event", string(e.Kind))
		} else {
			header["Content-Type"] = octetStream
			header["X-From"] = []string{encodeFrom(m.From)}
		}
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

// encodeFrom percent-encodes the percent sign and every byte that a header cannot carry.
// decodeURIComponent restores the id.
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
