package inboxhttp

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"inbox"
	"inbox/internal/park"
	"inbox/internal/problem"
)

// heartbeat is how often a stream without messages says that it lives.
const heartbeat = 15 * time.Second

// stream is a GET with Accept: text/event-stream. Once the peer is
// authenticated it reports nothing by a status: an EventSource gives up on one.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, p inbox.Peer) error {
	s := &stream{h: h}
	after, pop, err := streamPosition(r)
	if err != nil {
		s.out.event("reset")
	}
	s.pop = pop
	s.session = inbox.NewSession(h.Store, p, after, h.Capacity, inbox.NewWaker(nil))
	b, err := s.session.Look(r.Context())
	if errors.Is(err, inbox.ErrBadCursor) { // never given out: as good as one of an earlier life
		s.out.event("reset")
		s.session.Acknowledge(inbox.Cursor{})
		b, err = s.session.Look(r.Context())
	}
	if err != nil {
		return err // the peer is not authenticated, or has no inbox
	}
	s.out.id(b.Start()) // so that a client that never got a message can resume too
	s.add(b, nil)

	header := w.Header()
	header["Content-Type"] = []string{"text/event-stream"}
	header["X-Accel-Buffering"] = []string{"no"} // what nginx must be told
	if h.canPark(r) {
		return s.park(w)
	}
	return s.block(w, r)
}

// streamPosition reads where a stream begins. Without a position it pops.
func streamPosition(r *http.Request) (after inbox.Cursor, pop bool, err error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		q, err := query(r, "after")
		if err != nil {
			return inbox.Cursor{}, false, err // it may have meant to say where
		}
		if !q.Has("after") {
			return inbox.Cursor{}, true, nil
		}
		text = q.Get("after")
	}
	after, err = inbox.ParseCursor(text)
	return after, false, err
}

// stream is the state of one, whoever waits for it.
type stream struct {
	h       *Handler
	session *inbox.Session
	pop     bool
	out     eventBuffer
	written inbox.Cursor // of the last message in out
	more    bool         // was found than went into out

	spot  *park.Spot // what follows: when parked
	head  []byte     // of the answer, until it was written
	wrote time.Time
}

// add puts what a look has found into the buffer, as far as it is a piece, and reports
// whether it is the end.
func (s *stream) add(b inbox.Batch, err error) (done bool) {
	if err != nil {
		switch code := problemOf(err).Code; code {
		case problem.Replaced.Code, problem.Closed.Code, problem.Draining.Code:
			s.out.event(code)
		}
		return true // of anything else the client learns by coming back
	}
	if b.Reset {
		s.out.event("reset")
	}
	fresh := s.session.Fresh(b.Messages)
	s.more = false
	for i := range fresh {
		if s.out.Len() >= pieceSize {
			s.more = true
			break
		}
		m := &fresh[i]
		s.out.message(m)
		s.written = m.Cursor
		s.session.Sent(m.Cursor)
	}
	return false
}

// flushed is called when what add put into the buffer was written: the next look
// acknowledges it, in a stream that pops.
func (s *stream) flushed() {
	s.out = eventBuffer{} // and its memory
	if s.pop && s.written != (inbox.Cursor{}) {
		s.session.Acknowledge(s.written)
	}
}

// block serves a stream in its handler: HTTP/2, TLS, or no Listener.
func (s *stream) block(w http.ResponseWriter, r *http.Request) error {
	rc := http.NewResponseController(w)
	c := client{ctx: r.Context(), http2: r.ProtoMajor >= 2, waited: true}
	for done := false; ; {
		if s.out.Len() > 0 {
			// An error means that there are no deadlines here, as in a test.
			_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
			if !c.present() || !flush(w, rc, s.out.Bytes()) || !c.delivered() {
				s.session.Leave(r.Context())
				return nil
			}
			// HTTP/2 ends a stream whose deadline passes, written to or not.
			_ = rc.SetWriteDeadline(time.Time{})
			s.flushed()
		}
		if done {
			return nil
		}
		b, err := s.session.Receive(r.Context(), heartbeat, s.h.draining)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		done = s.add(b, err)
		if s.out.Len() == 0 && !done {
			s.out.comment()
		}
	}
}

func flush(w http.ResponseWriter, rc *http.ResponseController, content []byte) bool {
	_, err := w.Write(content)
	return err == nil && rc.Flush() == nil
}

// park serves a stream without a goroutine of its own.
func (s *stream) park(w http.ResponseWriter) error {
	conn, _, err := park.Hijack(w) // what came after the request is not looked at: this is its last
	if err != nil {
		return err
	}
	w.Header().Set("Transfer-Encoding", "chunked")
	head := &answer{header: w.Header(), status: http.StatusOK, close: true}
	head.head()
	s.head = head.body.Bytes()
	spot, err := s.h.lot.Park(conn, s.run)
	if err != nil {
		return nil // nobody can be told any more
	}
	s.session.Waker().Notify(spot.Wake)
	spot.Begin()
	return nil
}

func (s *stream) run(spot *park.Spot, e park.Events) {
	s.spot = spot
	ctx := spotContext(spot)
	if e&park.Gone != 0 && state(ctx) != open {
		s.session.Leave(ctx)
		s.spot.Close()
		return
	}
	if s.h.Draining() {
		if s.out.Len() > 0 && !s.write(ctx) {
			s.out = eventBuffer{}
		}
		s.session.Leave(ctx)
		s.session.Waker().End(inbox.ErrDraining)
	}
	look := e&park.Woken != 0 || s.h.Draining() || !time.Now().Before(s.session.Again())
	for {
		acked := s.session.Acknowledged()
		if s.out.Len() > 0 && !s.write(ctx) {
			s.session.Leave(ctx)
			s.spot.Close()
			return
		}
		if !look && !s.more && s.session.Acknowledged() == acked { // else a pop is to be acknowledged
			break
		}
		look = false
		b, err := s.session.Look(ctx)
		if s.add(b, err) {
			if s.out.Len() == 0 || s.write(ctx) {
				s.spot.Write([]byte("0\r\n\r\n"), writeTimeout) // whole, to whom that matters
			}
			s.spot.Close()
			return
		}
	}
	if time.Since(s.wrote) >= heartbeat {
		s.out.comment()
		if !s.write(ctx) {
			s.session.Leave(ctx)
			s.spot.Close()
			return
		}
	}
	s.rest(min(heartbeat-time.Since(s.wrote), time.Until(s.session.Again())))
}

func (s *stream) rest(d time.Duration) {
	s.spot.Rest(d)
	if err := s.spot.Watch(park.Gone); err != nil {
		s.h.Log.Error("a connection cannot be watched", "error", err)
		s.spot.Close()
	}
}

// write sends the buffer as a chunk and reports whether the client is there. What
// is going to be popped goes only to one who is, as far as the kernel knows.
func (s *stream) write(ctx context.Context) bool {
	pops := s.pop && s.written != s.session.Acknowledged()
	if pops && state(ctx) != open {
		return false
	}
	chunk := bytes.NewBuffer(s.head)
	s.head = nil
	writeChunk(chunk, s.out.Bytes())
	if s.spot.Write(chunk.Bytes(), writeTimeout) != nil || pops && state(ctx) == reset {
		return false
	}
	s.wrote = time.Now()
	s.flushed()
	return true
}

// eventBuffer writes the event stream format of the HTML standard, 9.2.
type eventBuffer struct{ bytes.Buffer }

func (b *eventBuffer) comment() { b.WriteString(":\n\n") }

// id moves the client's last event id, without an event.
func (b *eventBuffer) id(c inbox.Cursor) { b.WriteString("id: " + c.String() + "\n\n") }

func (b *eventBuffer) event(code string) {
	b.WriteString("event: " + code + "\ndata: {\"code\":\"" + code + "\"}\n\n")
}

func (b *eventBuffer) message(m *inbox.Message) {
	b.WriteString("id: " + m.Cursor.String() + "\nevent: message\ndata: ")
	b.Write(appendMessage(b.AvailableBuffer(), "", m)) // JSON holds no line break
	b.WriteString("\n\n")
}
