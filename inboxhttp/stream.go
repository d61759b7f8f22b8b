package inboxhttp

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/meter"
	"inbox/internal/park"
	"inbox/internal/problem"
)

// heartbeat is how often a stream without messages says that it lives.
const heartbeat = 15 * time.Second

// stream is a GET with Accept: text/event-stream. Once the peer is
// authenticated it reports nothing by a status: an EventSource gives up on one.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, p inbox.Peer) error {
	s := &stream{h: h, http2: r.ProtoMajor >= 2, client: client{addr: clientaddr.Of(r.RemoteAddr)}}
	after, pop, err := streamPosition(r)
	unreadable := err != nil
	s.pop = pop
	s.session = inbox.NewSession(h.Store, p, after, h.MaxMessages, inbox.NewWaker(nil), h.draining)
	b, err := s.session.Look(r.Context())
	if errors.Is(err, inbox.ErrBadCursor) { // never given out: as good as one of an earlier life
		unreadable = true
		s.session.Acknowledge(inbox.Cursor{})
		b, err = s.session.Look(r.Context())
	}
	var over error
	if errors.Is(err, inbox.ErrDraining) { // the stream says so, to whom the inbox is
		over = err
		b, err = h.Store.Acknowledge(r.Context(), p, inbox.Cursor{}, nil)
	}
	if err != nil {
		return err // the peer is not authenticated, or has no inbox
	}
	s.at = b.Start()
	// The client sees at once that nothing on the way holds the stream back. Some wait for
	// three bytes, which may be a byte order mark.
	s.out.WriteString(": begins\n")
	if unreadable {
		s.out.event("reset", s.at)
	}
	s.add(b, over)
	if held := s.held(); held > 0 { // later there is no status to say so
		if err := h.InFlight.Take(s.client.addr, held); err != nil {
			return err
		}
		h.InFlight.Give(s.client.addr, held)
	}

	header := w.Header()
	header["Content-Type"] = []string{"text/event-stream"}
	header["X-Accel-Buffering"] = []string{"no"} // what nginx must be told
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
	_ = drive(r.Context(), s.session, s, false) // an error is the client's leaving
	return nil
}

// streamPosition reads where a stream begins: Last-Event-ID in the header, else in the
// query, else after. Without any of them it pops. With one that cannot be read it does
// not: its client meant to say where.
func streamPosition(r *http.Request) (after inbox.Cursor, pop bool, err error) {
	header := r.Header["Last-Event-Id"]
	if text, err := theOnly(header); text != "" || err != nil {
		return parsePosition(text, err)
	}
	q, err := query(r, "after")
	if err != nil {
		return inbox.Cursor{}, false, err
	}
	ids := lastEventIDs(q)
	text, err := theOnly(ids)
	switch {
	case text != "" || err != nil:
		return parsePosition(text, err)
	case q.Has("after"):
		return parsePosition(q.Get("after"), nil)
	case len(header) > 0 || len(ids) > 0: // nothing has come yet
		return inbox.Cursor{}, false, nil
	case misnamesPosition(q):
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

// theOnly returns the one value that is not empty, or an error if there are two.
func theOnly(values []string) (only string, err error) {
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

// stream is the state of one, whichever driver it has.
type stream struct {
	parked
	h        *Handler
	pop      bool
	http2    bool
	over     bool            // the stay: the stream ends when all is written
	out      eventBuffer     // what comes before the messages
	at       inbox.Cursor    // the position that the last event has told
	messages []inbox.Message // to be written: our own copy, as many as one answer holds
	more     bool            // was found than that
	written  inbox.Cursor    // of the last message that went out
	wrote    time.Time

	head []byte // of the answer, until it was written, if the connection is parked

	client client              // else; its address always
	w      http.ResponseWriter // else
}

// add notes the messages of a look, as many as one answer holds, or the reason for the end.
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
		return // of anything else the client learns by coming back
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

// idle writes everything that is pending, or a comment if the stream was silent.
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
			s.spot.Write([]byte("0\r\n\r\n"), writeTimeout) // whole, to whom that matters
			s.spot.Close()
		}
		return end
	case s.more || s.session.Acknowledged() != acked: // by a pop
		return look
	}
	return rest
}

// pending reports whether there is something to write.
func (s *stream) pending() bool { return s.out.Len() > 0 || len(s.messages) > 0 }

// held is what the server holds for the stream while its client does not read.
func (s *stream) held() int {
	size := 0
	for i := range s.messages {
		size += len(s.messages[i].Body)
	}
	if size <= kernelBuffers && !s.http2 {
		return 0
	}
	return size + answerBuffers
}

// emit writes what add has noted, in pieces, by to. After an error the stream ends.
func (s *stream) emit(to func(piece []byte) error) error {
	held := s.held()
	if err := s.h.InFlight.Take(s.client.addr, held); err != nil {
		return err
	}
	defer s.h.InFlight.Give(s.client.addr, held)
	p := newPieces(to)
	defer p.free()
	p.buf = append(p.buf, s.out.Bytes()...)
	s.out = eventBuffer{} // and its memory
	for i := range s.messages {
		m := &s.messages[i]
		p.buf = append(append(append(p.buf, "id: "...), m.Cursor.String()...), "\nevent: message\ndata: "...)
		p.message("", m) // JSON holds no line break
		p.buf = append(p.buf, "\n\n"...)
		p.next()
		s.at, s.written = m.Cursor, m.Cursor
		s.session.Sent(m.Cursor)
		s.messages[i] = inbox.Message{}
	}
	s.messages = nil
	return p.flush()
}

// write sends everything that add has noted and reports whether the client is there. A
// stream that pops writes messages only to a client that is connected as far as the
// kernel knows, and acknowledges them with the next look.
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

// emitTo writes to whatever the stream has: a parked connection, or the answer of its
// handler.
func (s *stream) emitTo(until time.Time) error {
	if s.spot != nil {
		return s.emit(func(piece []byte) error {
			head := s.head
			s.head = nil
			return writeChunk(s.spot, head, piece, "", until)
		})
	}
	rc := http.NewResponseController(s.w)
	// An error means that there are no deadlines here, as in a test.
	_ = rc.SetWriteDeadline(until)
	// HTTP/2 ends a stream whose deadline passes, written to or not.
	defer rc.SetWriteDeadline(time.Time{})
	return s.emit(func(piece []byte) error {
		if _, err := s.w.Write(piece); err != nil {
			return err
		}
		return rc.Flush()
	})
}

// park serves a stream without a goroutine of its own.
func (s *stream) park(w http.ResponseWriter, r *http.Request) error {
	conn, _, err := park.Hijack(w) // what came after the request is not looked at: this is its last
	if err != nil {
		s.wait.End()
		return err
	}
	w.Header().Set("Transfer-Encoding", "chunked")
	s.head = (&answer{header: w.Header(), status: http.StatusOK, close: true}).appendHead(nil)
	spot, err := s.h.Lot.Park(conn, s.run)
	if err != nil {
		s.wait.End()
		return nil // nobody can be told any more
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

// eventBuffer writes the event stream format of the HTML standard, 9.2.
type eventBuffer struct{ bytes.Buffer }

// comment has no empty line after it: some clients take that for an empty message. So the
// next event ends the comment.
func (b *eventBuffer) comment() { b.WriteString(":\n") }

// event has an id, so that a client to which no message came can resume too.
func (b *eventBuffer) event(code string, at inbox.Cursor) {
	b.WriteString("id: " + at.String() + "\nevent: " + code + "\ndata: {\"code\":\"" + code + "\"}\n\n")
}
