package inboxhttp

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"inbox"
	"inbox/internal/browser"
	"inbox/internal/clientaddr"
	"inbox/internal/meter"
	"inbox/internal/park"
)

// parkAfter is how long a long poll waits in its handler before its connection is parked.
// During a handshake the next message usually arrives sooner and is then as cheap as with
// a plain request.
const parkAfter = 250 * time.Millisecond

// maxUnparked bounds how many long polls wait inside their handlers at once. If thousands
// arrive together, their goroutines would otherwise take more memory than all parked
// connections.
const maxUnparked = 256

// waiterCost is how many bytes in flight a request counts for while it waits over HTTP/2:
// about the memory of its goroutine and its stream.
const waiterCost = 16 << 10

// keepAlive is how long a parked connection waits for its next request.
const keepAlive = 75 * time.Second

// poll handles a GET that returns one answer, whether it may wait or not.
func (h *Handler) poll(w http.ResponseWriter, r *http.Request, p inbox.Peer, q pollQuery) error {
	c := client{ctx: r.Context(), addr: clientaddr.Of(r.RemoteAddr), http2: r.ProtoMajor >= 2}
	switch {
	case q.limit == 0:
		b, err := h.Store.Acknowledge(r.Context(), p, q.after, nil)
		return h.deliver(w, c, p, nil, q, b, err)
	case q.wait == 0:
		b, err := h.look(r.Context(), p, q)
		return h.deliver(w, c, p, nil, q, b, err)
	}
	s := h.session(p, q, nil)
	b, err := s.Look(r.Context())
	if err != nil || len(b.Messages) > 0 || b.Reset {
		return h.deliver(w, c, p, s.Waker(), q, b, err)
	}
	c.waited = true
	waits := pollWait{query: q, deadline: time.Now().Add(q.wait)}
	held := &heldPoll{pollWait: waits, h: h, session: s, w: w, client: c}
	var wait meter.Wait
	wait.Begin(h.Meter, meter.LongPoll)
	defer func() { wait.End() }() // unless parkedPoll takes it over
	before := park.PrefixedOf(park.ConnOf(r.Context()))
	switch idle := before != nil && before.Idle; { // idle: the last poll on this connection found nothing and will probably wait again
	case !h.canPark(r), q.wait <= parkAfter && !idle:
		return held.drive(false)
	case !idle:
		if woken, err := h.beforeParking(r.Context(), s); err != nil || woken {
			return held.drive(woken)
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
	parking := &parkedPoll{
		parked: parked{session: s}, pollWait: waits, h: h, peer: s.Peer(), waited: true,
		unread: unread, header: h.headers.of(header.Bytes()), close: closes,
		program: !browser.MayHaveSent(r.Header), remote: c.addr,
	}
	parking.wait, wait = wait, meter.Wait{}
	if before != nil && len(unread) == 0 {
		parking.request = before.OneRequest()
	}
	spot, err := h.Lot.Park(conn, parking.run)
	if err != nil {
		parking.wait.End()
		return nil // the connection is gone
	}
	spot.For(r.Context())
	s.Park(spot.Wake)
	spot.Begin()
	return nil
}

// look looks for a poll that does not wait and is not a receiver. If a pop hides messages
// at that moment, look waits for it to finish, for at most 2*popTimeout in all.
func (h *Handler) look(ctx context.Context, p inbox.Peer, q pollQuery) (inbox.Batch, error) {
	b, err := h.store(q).Look(ctx, p, q.after, q.limit, nil)
	if b.Taken == nil {
		return b, err
	}
	ctx, stop := context.WithTimeout(ctx, 2*popTimeout)
	defer stop()
	for b.Taken != nil {
		select {
		case <-b.Taken:
			b, err = h.store(q).Look(ctx, p, q.after, q.limit, nil)
		case <-ctx.Done():
			return b, err
		}
	}
	return b, err
}

// store returns the store in which a poll looks for messages.
func (h *Handler) store(q pollQuery) inbox.Store {
	if q.json || q.events {
		return h.Store
	}
	return withoutEvents{h.Store}
}

// session returns a session of p for the messages that q asks for.
func (h *Handler) session(p inbox.Peer, q pollQuery, wake func()) *inbox.Session {
	return inbox.NewSession(h.store(q), p, q.after, q.limit, inbox.NewWaker(wake), h.draining)
}

// beforeParking waits up to parkAfter and reports whether the session was woken.
func (h *Handler) beforeParking(ctx context.Context, s *inbox.Session) (woken bool, err error) {
	defer h.unparked.Add(-1)
	if h.unparked.Add(1) > maxUnparked {
		return false, nil
	}
	return s.Wait(ctx, time.Now().Add(parkAfter))
}

// pollWait is the state that both kinds of waiting polls share.
type pollWait struct {
	query    pollQuery
	deadline time.Time // end of the wait or, once a parked poll is answered, of the keep-alive
}

// keepWaiting reports whether to keep waiting: the look found nothing to answer with and there
// is time left.
func (p *pollWait) keepWaiting(b inbox.Batch, err error) bool {
	return err == nil && len(b.Messages) == 0 && !b.Reset && time.Now().Before(p.deadline)
}

// idle implements [transport]: at its deadline a poll looks once more.
func (p *pollWait) idle() step {
	if time.Now().Before(p.deadline) {
		return rest
	}
	return look
}

// due implements [transport].
func (p *pollWait) due() time.Time { return p.deadline }

// heldPoll is a long poll that waits in its handler's goroutine.
type heldPoll struct {
	pollWait
	h       *Handler
	session *inbox.Session
	w       http.ResponseWriter
	client  client
	err     error
}

// found implements [transport].
func (p *heldPoll) found(b inbox.Batch, err error) step {
	if p.keepWaiting(b, err) {
		return rest
	}
	p.err = p.h.deliver(p.w, p.client, p.session.Peer(), p.session.Waker(), p.query, b, err)
	return end
}

func (p *heldPoll) drive(woken bool) error {
	if p.client.http2 {
		if err := p.h.Clients.Hold(p.client.addr, waiterCost); err != nil {
			p.session.Leave(p.client.ctx)
			return err
		}
		defer p.h.Clients.Release(p.client.addr, waiterCost)
	}
	if err := drive(p.client.ctx, p.session, p, woken); err != nil {
		return err
	}
	return p.err
}

// parkedPoll is a long poll whose connection was taken from net/http: first while it
// waits, then until the next request arrives.
//
// Most of the cost of a waiting peer is in its repeated requests. So parkedPoll keeps the
// bytes of the request. If the same bytes arrive again, or differ only in the cursor, it
// starts the next wait without parsing anything and without net/http.
type parkedPoll struct {
	parked // session is nil between polls
	pollWait
	h        *Handler
	peer     inbox.Peer
	remote   netip.Addr // the client's address
	unread   []byte     // read beyond the request
	readable bool       // the connection may have more to read
	request  []byte     // bytes of the last request; nil if unknown
	header   string
	close    bool
	program  bool // the request did not come from a browser
	waited   bool // the request waited before it was answered
	idled    bool // the last wait found nothing
}

func (p *parkedPoll) run(spot *park.Spot, e park.Events) {
	p.spot = spot
	p.readable = p.readable || e&park.Readable != 0
	if p.session == nil {
		p.next(e)
		return
	}
	// While the poll waits, the next request stays in the kernel: watch only for the
	// client's leaving. But if Readable was watched before, changing that costs more than
	// an early event.
	watch := park.Gone
	if p.request != nil {
		watch = park.Readable
	}
	p.drive(p, e, watch)
}

// found implements [transport].
func (p *parkedPoll) found(b inbox.Batch, err error) step {
	if p.keepWaiting(b, err) {
		p.waited = true
		return rest
	}
	p.answer(b, err)
	return end
}

func (p *parkedPoll) answer(b inbox.Batch, err error) {
	w := p.writer()
	p.wait.End()
	c := client{ctx: p.spot.Context(), addr: p.remote, waited: p.waited}
	idled := len(b.Messages) == 0
	if err := p.h.deliver(w, c, p.peer, p.session.Waker(), p.query, b, err); err != nil {
		if errors.Is(err, context.Canceled) { // the client has left
			p.spot.Close()
			return
		}
		p.h.countFailure(meter.LongPoll, p.h.fail(w, err, p.program), p.remote)
	}
	p.session, p.idled = nil, idled
	p.answered(w)
}

// refuse answers the next request with an error before it has any effect.
func (p *parkedPoll) refuse(err error) {
	if !p.h.Clients.Listens(p.remote) {
		p.spot.Close()
		return
	}
	w := p.writer()
	p.h.countFailure(meter.LongPoll, p.h.fail(w, err, p.program), p.remote)
	p.answered(w)
}

func (p *parkedPoll) writer() *answer {
	return &answer{
		spot: p.spot, common: p.header, close: p.close || p.h.Draining(), header: make(http.Header),
		until: time.Now().Add(writeTimeout),
	}
}

// answered completes an answer and waits for the next request.
func (p *parkedPoll) answered(w *answer) {
	if w.finish() != nil || w.close {
		p.spot.Close()
		return
	}
	if p.request == nil {
		p.peer, p.header = inbox.Peer{}, ""
	}
	p.deadline = time.Now().Add(keepAlive)
	p.next(0)
}

// next waits for the next request on the connection. If that is not a repetition of the
// last one, it hands the connection back to net/http.
func (p *parkedPoll) next(e park.Events) {
	switch {
	case len(p.unread) > 0:
		p.spot.HandBack(p.unread, p.idled)
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

// requestBuffers has buffers that the next request is read into.
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
	case n == len(buffer), // there may be more to read, and a spot rests only when all was read
		!p.repeats(buffer[:n]):
		p.spot.HandBack(bytes.Clone(buffer[:n]), p.idled)
	default:
		if err := p.h.Clients.Request(p.remote); err != nil {
			p.refuse(err)
			return
		}
		p.session = p.h.session(p.peer, p.query, p.spot.Wake)
		p.wait.Begin(p.h.Meter, meter.LongPoll)
		p.deadline, p.waited = time.Now().Add(p.query.wait), false
		p.run(p.spot, park.Woken)
	}
}

// repeats reports whether request repeats the last one, possibly with another cursor, which
// it adopts.
func (p *parkedPoll) repeats(request []byte) bool {
	switch {
	case p.request == nil:
		return false
	case bytes.Equal(request, p.request):
		return true
	case p.query.pop:
		return false // a pop has no cursor that could differ
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
	p.query.after, p.request = after, bytes.Clone(request)
	return true
}

// cutCursor splits a request around the cursor if its query begins with after=. Otherwise
// it returns the whole request as before.
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
