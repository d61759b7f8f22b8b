package inboxhttp

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"inbox"
	"inbox/internal/browser"
	"inbox/internal/park"
)

// parkAfter is how long a long poll waits in its handler before its connection
// is parked. In the middle of a handshake the next message comes sooner, and
// then costs no more than any request.
const parkAfter = 250 * time.Millisecond

// maxUnparked is how many do so at a time. When thousands come at once, their
// goroutines would take more memory than all that waits.
const maxUnparked = 256

// keepAlive is how long a connection that was parked is kept for a next request.
const keepAlive = 75 * time.Second

// poll is a GET that waits for one answer, or not at all.
func (h *Handler) poll(w http.ResponseWriter, r *http.Request, p inbox.Peer, a ask) error {
	c := client{ctx: r.Context(), http2: r.ProtoMajor >= 2}
	switch {
	case a.limit == 0:
		b, err := h.Store.Acknowledge(r.Context(), p, a.after, nil)
		return h.deliver(w, c, p, nil, a, b, err)
	case a.wait == 0:
		b, err := h.Store.Look(r.Context(), p, a.after, a.limit, nil)
		return h.deliver(w, c, p, nil, a, b, err)
	}
	s := h.session(p, a, nil)
	b, err := s.Look(r.Context())
	if err != nil || len(b.Messages) > 0 || b.Reset {
		return h.deliver(w, c, p, s.Waker(), a, b, err)
	}
	c.waited = true
	deadline := time.Now().Add(a.wait)
	before := park.PrefixedOf(park.ConnOf(r.Context()))
	patience := parkAfter
	if before != nil && before.Idle {
		patience = 0 // who waited in vain does so again
	}
	if !h.canPark(r) || a.wait <= patience {
		b, err = h.waitUnparked(r.Context(), s, deadline)
		return h.deliver(w, c, p, s.Waker(), a, b, err)
	}
	if patience > 0 {
		woken, err := h.beforeParking(r.Context(), s)
		if err == nil && woken {
			b, err = s.Receive(r.Context(), time.Until(deadline), h.draining)
		}
		if err != nil || woken {
			return h.deliver(w, c, p, s.Waker(), a, b, err)
		}
	}
	closes := r.Close || w.Header().Get("Connection") == "close"
	w.Header().Del("Connection")
	var header bytes.Buffer
	w.Header().Write(&header)
	conn, unread, err := park.Hijack(w)
	if err != nil {
		return err
	}
	parked := &parkedPoll{
		h: h, peer: p, ask: a, deadline: deadline, session: s,
		unread: unread, header: h.headers.of(header.Bytes()), close: closes,
		program: !browser.MayHaveSent(r.Header),
	}
	if before != nil && len(unread) == 0 {
		parked.request = before.OneRequest()
	}
	spot, err := h.Lot.Park(conn, parked.run)
	if err != nil {
		return nil // nobody can be told any more
	}
	s.Waker().Notify(spot.Wake)
	spot.Begin()
	return nil
}

// session begins a stay at p's inbox, for the messages that were asked for.
func (h *Handler) session(p inbox.Peer, a ask, wake func()) *inbox.Session {
	return inbox.NewSession(h.Store, p, a.after, a.limit, inbox.NewWaker(wake))
}

// waitUnparked blocks until there is something to answer. The session has looked
// already.
func (h *Handler) waitUnparked(ctx context.Context, s *inbox.Session, deadline time.Time) (inbox.Batch, error) {
	if _, err := s.Wait(ctx, deadline, h.draining); err != nil {
		return inbox.Batch{}, err
	}
	return s.Receive(ctx, time.Until(deadline), h.draining)
}

// beforeParking waits for a moment, and reports whether the session was woken.
func (h *Handler) beforeParking(ctx context.Context, s *inbox.Session) (woken bool, err error) {
	defer h.unparked.Add(-1)
	if h.unparked.Add(1) > maxUnparked {
		return false, nil
	}
	return s.Wait(ctx, time.Now().Add(parkAfter), h.draining)
}

// parkedPoll is a long poll whose connection was taken from net/http, first
// while it waits, and then until the next request comes.
//
// Most of what a peer that waits costs is that it asks again and again. So the
// bytes of a request are kept, and when the very same come again, or the same with
// another cursor, there is nothing to parse: the wait begins anew, and net/http
// does not hear of it.
type parkedPoll struct {
	h        *Handler
	spot     *park.Spot
	session  *inbox.Session // nil once it is answered
	peer     inbox.Peer
	ask      ask
	deadline time.Time // of the wait, or of the next request
	unread   []byte    // what was read beyond the request
	readable bool      // there is more to read
	request  []byte    // nil if it is not known
	header   string
	close    bool
	program  bool // no browser has sent the request
	idle     bool // the last wait was in vain
}

func (p *parkedPoll) run(spot *park.Spot, e park.Events) {
	p.spot = spot
	p.readable = p.readable || e&park.Readable != 0
	if p.session == nil {
		p.next(e)
		return
	}
	if e&park.Gone != 0 && park.StateOf(spot.Context()) != park.Open {
		p.session.Leave(context.Background())
		p.spot.Close()
		return
	}
	if e&(park.Woken|park.Timeout) == 0 && !p.h.Draining() {
		p.wait()
		return
	}
	p.look(true)
}

// look looks into the inbox for a request that has waited, or has just come.
func (p *parkedPoll) look(waited bool) {
	var b inbox.Batch
	var err error
	if p.h.Draining() {
		if waited {
			p.session.Leave(context.Background())
		}
		err = inbox.ErrDraining
	} else {
		b, err = p.session.Look(context.Background())
	}
	if err == nil && len(b.Messages) == 0 && !b.Reset && time.Now().Before(p.deadline) {
		p.wait()
		return
	}
	p.answer(b, err, waited)
}

// wait rests until there is something to look for.
func (p *parkedPoll) wait() {
	p.spot.Rest(min(time.Until(p.deadline), time.Until(p.session.Again())))
	// Not for what it may send meanwhile: a next request stays in the kernel. But
	// when that was watched for before, it is cheaper to be told.
	watch := park.Gone
	if p.request != nil {
		watch = park.Readable
	}
	if err := p.spot.Watch(watch); err != nil {
		p.h.Log.Error("a connection cannot be watched", "error", err)
		p.spot.Close()
	}
}

func (p *parkedPoll) answer(b inbox.Batch, err error, waited bool) {
	w := &answer{
		spot: p.spot, common: p.header, close: p.close || p.h.Draining(), header: make(http.Header),
		until: time.Now().Add(writeTimeout),
	}
	c := client{ctx: p.spot.Context(), waited: waited}
	idle := len(b.Messages) == 0
	if err := p.h.deliver(w, c, p.peer, p.session.Waker(), p.ask, b, err); err != nil {
		if errors.Is(err, context.Canceled) { // the client has left
			p.spot.Close()
			return
		}
		p.h.fail(w, err, p.program)
	}
	if w.finish() != nil || w.close {
		p.spot.Close()
		return
	}
	p.session, p.idle = nil, idle
	if p.request == nil {
		p.peer, p.header = inbox.Peer{}, ""
	}
	p.deadline = time.Now().Add(keepAlive)
	p.next(0)
}

// next waits for the next request. It hands the connection back when it is there,
// unless it is the same one.
func (p *parkedPoll) next(e park.Events) {
	switch {
	case len(p.unread) > 0:
		p.spot.HandBack(p.unread, p.idle)
	case p.readable:
		p.readable = false
		p.read()
	case p.h.Draining() || e&park.Gone != 0 || !time.Now().Before(p.deadline):
		p.spot.Close()
	default:
		p.spot.Rest(time.Until(p.deadline))
		if err := p.spot.Watch(park.Readable); err != nil {
			p.spot.Close()
		}
	}
}

// requestBuffers are what a next request is read into.
var requestBuffers = sync.Pool{New: func() any { return new([2 << 10]byte) }}

func (p *parkedPoll) read() {
	buffer := requestBuffers.Get().(*[2 << 10]byte)
	defer requestBuffers.Put(buffer)
	n, err := p.spot.ReadNow(buffer[:])
	switch {
	case err == park.ErrNothing:
		p.next(0)
	case err != nil:
		p.spot.Close()
	case n == len(buffer), // there may be more, and a spot does not rest before that is read
		!p.again(buffer[:n]):
		p.spot.HandBack(bytes.Clone(buffer[:n]), p.idle)
	default:
		p.session = p.h.session(p.peer, p.ask, p.spot.Wake)
		p.deadline = time.Now().Add(p.ask.wait)
		p.look(false)
	}
}

// again reports whether a request is the last one again, and takes over its
// cursor.
func (p *parkedPoll) again(request []byte) bool {
	switch {
	case p.request == nil:
		return false
	case bytes.Equal(request, p.request):
		return true
	case p.ask.pop:
		return false // a cursor in it is none
	}
	before, _, rest := cutCursor(p.request)
	before2, cursor, rest2 := cutCursor(request)
	if !bytes.Equal(before, before2) || !bytes.Equal(rest, rest2) {
		return false
	}
	after, err := inbox.ParseCursor(string(cursor))
	if err != nil {
		return false
	}
	p.ask.after, p.request = after, bytes.Clone(request)
	return true
}

// cutCursor finds the cursor in a request whose query begins with it, or else
// none.
func cutCursor(request []byte) (before, cursor, rest []byte) {
	const name = "?after="
	at := bytes.IndexByte(request, '?')
	if at < 0 || !bytes.HasPrefix(request[at:], []byte(name)) {
		return request, nil, nil
	}
	before, rest = request[:at+len(name)], request[at+len(name):]
	end := max(0, bytes.IndexAny(rest, " &"))
	return before, rest[:end], rest[end:]
}
