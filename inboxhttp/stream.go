package inboxhttp

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/flight"
	"inbox/internal/meter"
	"inbox/internal/park"
	"inbox/internal/problem"
)

// heartbeat is how long a stream may be silent before the server writes a comment.
const heartbeat = 15 * time.Second

// stream handles a GET with Accept: text/event-stream. After authentication it reports
// errors as events, not as statuses, because an EventSource gives up when it sees an
// error status.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, p inbox.Peer) error {
	s := &stream{h: h, http2: r.ProtoMajor >= 2, client: client{addr: clientaddr.Of(r.RemoteAddr)}}
	after, pop, err := streamPosition(r)
	unreadable := err != nil
	s.pop = pop
	s.session = inbox.NewSession(h.Store, p, after, h.MaxMessages, inbox.NewWaker(nil), h.draining)
	b, err := s.session.Look(r.Context())
	if errors.Is(err, inbox.ErrBadCursor) { // treat it like a cursor of an earlier life
		unreadable = true
		s.session.Acknowledge(inbox.Cursor{})
		b, err = s.session.Look(r.Context())
	}
	var over error
	if errors.Is(err, inbox.ErrDraining) { // the owner gets the event instead of a status
		over = err
		b, err = h.Store.Acknowledge(r.Context(), p, inbox.Cursor{}, nil)
	}
	if err != nil {
		return err // not authenticated, or no room for an inbox
	}
	s.at = b.Start()
	// The comment shows the client immediately that nothing on the way buffers the
	// stream. Some clients wait for three bytes, in case they are a byte order mark.
	s.out.WriteString(": begins\n")
	if unreadable {
		s.out.event("reset", s.at)
	}
	s.add(b, over)
	if held := s.held(); held > 0 { // the last chance to refuse with a status
		if err := h.InFlight.Take(s.client.addr, held); err != nil {
			return err
		}
		h.InFlight.Give(s.client.addr, held)
	}

	header := w.Header()
	header["Content-Type"] = []string{"text/event-stream"}
	header["X-Accel-Buffering"] = []string{"no"} // turns off buffering in nginx
	h.Meter.Request(meter.Stream, http.StatusOK)
	s.wait.Begin(h.Meter, meter.Stream)
	if h.canPark(r) {
		return s.park(w, r)
	}
	defer s.wait.End()
	s.client.ctx, s.client.http2, s.client.waited = r.Context(), s.http2, true
	s.w = w
	if s.http2 {
		if err := h.Clients.Hold(s.client.addr, waiterCost); err != nil {
			s.session.Leave(r.Context())
			return err
		}
		defer h.Clients.Release(s.client.addr, waiterCost)
	}
	_ = drive(r.Context(), s.session, s, false) // an error means that the client has left
	return nil
}

// streamPosition returns where a stream begins. The header Last-Event-ID takes precedence
// over its variants in the query, and these over after. With none of them the stream
// pops. With an unreadable position it does not, because the client meant to give one.
func streamPosition(r *http.Request) (after inbox.Cursor, pop bool, err error) {
	header := r.Header["Last-Event-Id"]
	if text, err := single(header); text != "" || err != nil {
		return parsePosition(text, err)
	}
	q, err := query(r, "after")
	if err != nil {
		return inbox.Cursor{}, false, err
	}
	ids := lastEventIDs(q)
	text, err := single(ids)
	switch {
	case text != "" || err != nil:
		return parsePosition(text, err)
	case q.Has("after"):
		return parsePosition(q.Get("after"), nil)
	case len(header) > 0 || len(ids) > 0: // an empty position: nothing received yet
		return inbox.Cursor{}, false, nil
	case hasForeignPosition(q):
		return inbox.Cursor{}, false, inbox.ErrBadCursor
	}
	return inbox.Cursor{}, true, nil
}

func parsePosition(text string, err error) (after inbox.Cursor, pop bool, _ error) {
	if err == nil {
		after, err = inbox.ParseCursor(text)
	}
	return after, false, err
}

// single returns the one value that is not empty. It fails if there are different ones.
func single(values []string) (only string, err error) {
	for _, value := range values {
		if value != "" && only != "" && value != only {
			return "", inbox.ErrBadCursor
		}
		if value != "" {
			only = value
		}
	}
	return only, nil
}

// stream is an open event stream, parked or not.
type stream struct {
	parked
	h        *Handler
	pop      bool
	http2    bool
	over     bool            // the session has ended; end the stream when everything is written
	out      eventBuffer     // events to write before the messages
	at       inbox.Cursor    // position that the last event carried
	messages []inbox.Message // to be written: our own copy, at most one answer's worth
	more     bool            // the last look returned more than that
	written  inbox.Cursor    // cursor of the last message written
	wrote    time.Time

	head []byte // header of the answer until it is written; only if parked

	client client              // client.addr is always set; the rest only if not parked
	w      http.ResponseWriter // only if not parked
}

// add queues the messages of a look, at most one answer's worth, or the event that ends
// the stream.
func (s *stream) add(b inbox.Batch, err error) {
	if s.over {
		return
	}
	if err != nil {
		s.over = true
		switch code := problemOf(err).Code; code {
		case problem.Replaced.Code, problem.Closed.Code, problem.Draining.Code:
			s.out.event(code, s.at)
		}
		return // the client gets any other error when it reconnects
	}
	if b.Reset {
		s.at = b.Start()
		s.out.event("reset", s.at)
	}
	fresh := s.session.Fresh(b.Messages)
	s.messages, _ = inbox.First(fresh, maxAnswer)
	s.more = len(s.messages) < len(fresh)
}

// found implements [transport].
func (s *stream) found(b inbox.Batch, err error) step {
	s.add(b, err)
	return s.idle()
}

// due implements [transport].
func (s *stream) due() time.Time { return s.wrote.Add(heartbeat) }

// idle writes everything that is pending, or a comment if the stream has been silent for
// too long.
func (s *stream) idle() step {
	acked := s.session.Acknowledged()
	if !s.pending() && !s.over && !time.Now().Before(s.due()) {
		s.out.comment()
	}
	if s.pending() && !s.write() {
		if s.spot == nil {
			s.session.Leave(s.client.ctx)
		} else {
			s.leave()
		}
		return end
	}
	switch {
	case s.over:
		if s.spot != nil {
			s.wait.End()
			s.spot.Write([]byte("0\r\n\r\n"), writeTimeout) // ends the chunked body in order
			s.spot.Close()
		}
		return end
	case s.more || s.session.Acknowledged() != acked: // changed by a pop
		return look
	}
	return rest
}

// pending reports whether there is something to write.
func (s *stream) pending() bool { return s.out.Len() > 0 || len(s.messages) > 0 }

// held returns how many bytes the server holds for the stream while its client does not
// read.
func (s *stream) held() int {
	size := 0
	for i := range s.messages {
		size += len(s.messages[i].Body)
	}
	return flight.Answer(size, s.http2)
}

// emit encodes what add has queued and passes it to the function to in pieces. After an
// error the stream must end.
func (s *stream) emit(to func(piece []byte) error) error {
	held := s.held()
	if err := s.h.InFlight.Take(s.client.addr, held); err != nil {
		return err
	}
	defer s.h.InFlight.Give(s.client.addr, held)
	p := newPieces(to)
	defer p.free()
	p.buf = append(p.buf, s.out.Bytes()...)
	s.out = eventBuffer{} // and free its memory
	for i := range s.messages {
		m := &s.messages[i]
		p.buf = append(append(append(p.buf, "id: "...), m.Cursor.String()...), "\nevent: message\ndata: "...)
		p.message("", m) // JSON contains no line breaks
		p.buf = append(p.buf, "\n\n"...)
		p.next()
		s.at, s.written = m.Cursor, m.Cursor
		s.session.Sent(m.Cursor)
		s.messages[i] = inbox.Message{}
	}
	s.messages = nil
	return p.flush()
}

// write sends everything that is queued and reports whether the client is still there. A
// popping stream writes messages only while the kernel considers the connection open, and
// acknowledges them with the next look.
func (s *stream) write() bool {
	pops := s.pop && len(s.messages) > 0
	c := s.client
	if pops && s.spot != nil {
		c = client{ctx: s.spot.Context(), addr: c.addr, waited: true}
	}
	if pops && !c.present() || s.emitTo(time.Now().Add(writeTimeout)) != nil || pops && !c.delivered() {
		return false
	}
	s.wrote = time.Now()
	if pops {
		s.session.Acknowledge(s.written)
	}
	return true
}

// emitTo writes to the parked connection or to the handler's ResponseWriter.
func (s *stream) emitTo(until time.Time) error {
	if s.spot != nil {
		return s.emit(func(piece []byte) error {
			head := s.head
			s.head = nil
			return writeChunk(s.spot, head, piece, "", until)
		})
	}
	rc := http.NewResponseController(s.w)
	// It fails where there are no deadlines, as in tests.
	_ = rc.SetWriteDeadline(until)
	// HTTP/2 resets a stream when its deadline passes, even if nothing is being written.
	defer rc.SetWriteDeadline(time.Time{})
	return s.emit(func(piece []byte) error {
		if _, err := s.w.Write(piece); err != nil {
			return err
		}
		return rc.Flush()
	})
}

// park moves the stream to a parked connection, which needs no goroutine.
func (s *stream) park(w http.ResponseWriter, r *http.Request) error {
	conn, _, err := park.Hijack(w) // ignore what follows the request: it is the last one on this connection
	if err != nil {
		s.wait.End()
		return err
	}
	w.Header().Set("Transfer-Encoding", "chunked")
	s.head = (&answer{header: w.Header(), status: http.StatusOK, close: true}).appendHead(nil)
	spot, err := s.h.Lot.Park(conn, s.run)
	if err != nil {
		s.wait.End()
		return nil // the connection is gone
	}
	spot.For(r.Context())
	s.session.Park(spot.Wake)
	spot.Begin()
	return nil
}

func (s *stream) run(spot *park.Spot, e park.Events) {
	s.spot = spot
	s.drive(s, e, park.Gone)
}

// eventBuffer formats server-sent events (HTML standard, 9.2).
type eventBuffer struct{ bytes.Buffer }

// comment writes a comment line without an empty line after it, which some clients would
// take for an empty message. The next event ends it.
func (b *eventBuffer) comment() { b.WriteString(":\n") }

// event gives every event an id, so that a client can resume before it has received a
// message.
func (b *eventBuffer) event(code string, at inbox.Cursor) {
	b.WriteString("id: " + at.String() + "\nevent: " + code + "\ndata: {\"code\":\"" + code + "\"}\n\n")
}
