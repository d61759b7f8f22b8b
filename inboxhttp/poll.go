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

// parkAfter is how long a long poll waits in its handler before its connection
// is parked. In the middle of a handshake the next message comes sooner, and
// then costs no more than any request.
const parkAfter = 250 * time.Millisecond

// maxUnparked is how many do so at a time. When thousands come at once, their
// goroutines would take more memory than all that waits.
const maxUnparked = 256

// waiterCost is what a request that waits over HTTP/2 counts for in the bytes of its
// client: about what its goroutine and its stream take.
const waiterCost = 16 << 10

// keepAlive is how long a connection that was parked is kept for a next request.
const keepAlive = 75 * time.Second

// poll is a GET that waits for one answer, or not at all.
func (h *Handler) poll(w http.ResponseWriter, r *http.Request, p inbox.Peer, a ask) error {
	c := client{ctx: r.Context(), addr: clientaddr.Of(r.RemoteAddr), http2: r.ProtoMajor >= 2}
	switch {
	case a.limit == 0:
		b, err := h.Store.Acknowledge(r.Context(), p, a.after, nil)
		return h.deliver(w, c, p, nil, a, b, err)
	case a.wait == 0:
		b, err := h.look(r.Context(), p, a)
		return h.deliver(w, c, p, nil, a, b, err)
	}
	s := h.session(p, a, nil)
	b, err := s.Look(r.Context())
	if err != nil || len(b.Messages) > 0 || b.Reset {
		return h.deliver(w, c, p, s.Waker(), a, b, err)
	}
	c.waited = true
	waits := pollWait{ask: a, deadline: time.Now().Add(a.wait)}
	held := &heldPoll{pollWait: waits, h: h, session: s, w: w, client: c}
	var wait meter.Wait
	wait.Begin(h.Meter, meter.LongPoll)
	defer func() { wait.End() }() // unless it is parked
	before := park.PrefixedOf(park.ConnOf(r.Context()))
	switch idle := before != nil && before.Idle; { // whose last poll found nothing waits again
	case !h.canPark(r), a.wait <= parkAfter && !idle:
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
		return nil // nobody can be told any more
	}
	spot.For(r.Context())
	s.Park(spot.Wake)
	spot.Begin()
	return nil
}

// look is for a poll that does not wait, and that is nobody's receiver. It waits for the
// end of a pop that hides messages, but not for many such pops.
func (h *Handler) look(ctx context.Context, p inbox.Peer, a ask) (inbox.Batch, error) {
	b, err := h.Store.Look(ctx, p, a.after, a.limit, nil)
	if b.Taken == nil {
		return b, err
	}
	ctx, stop := context.WithTimeout(ctx, 2*popTimeout)
	defer stop()
	for b.Taken != nil {
		select {
		case <-b.Taken:
			b, err = h.Store.Look(ctx, p, a.after, a.limit, nil)
		case <-ctx.Done():
			return b, err
		}
	}
	return b, err
}

// session begins a stay at p's inbox, for the messages that were asked for.
func (h *Handler) session(p inbox.Peer, a ask, wake func()) *inbox.Session {
	return inbox.NewSession(h.Store, p, a.after, a.limit, inbox.NewWaker(wake), h.draining)
}

// beforeParking waits for a moment, and reports whether the session was woken.
func (h *Handler) beforeParking(ctx context.Context, s *inbox.Session) (woken bool, err error) {
	defer h.unparked.Add(-1)
	if h.unparked.Add(1) > maxUnparked {
		return false, nil
	}
	return s.Wait(ctx, time.Now().Add(parkAfter))
}

// pollWait is what both kinds of polls that wait have in common.
type pollWait struct {
	ask      ask
	deadline time.Time // of the wait; of a parked poll then of the next request
}

// goesOn reports whether a look has found nothing to answer with yet.
func (p *pollWait) goesOn(b inbox.Batch, err error) bool {
	return err == nil && len(b.Messages) == 0 && !b.Reset && time.Now().Before(p.deadline)
}

// idle implements [transport]: at the end of its time a poll looks once more.
func (p *pollWait) idle() step {
	if time.Now().Before(p.deadline) {
		return rest
	}
	return look
}

// due implements [transport].
func (p *pollWait) due() time.Time { return p.deadline }

// heldPoll is a long poll that waits in its handler.
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
	if p.goesOn(b, err) {
		return rest
	}
	p.err = p.h.deliver(p.w, p.client, p.session.Peer(), p.session.Waker(), p.ask, b, err)
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

// parkedPoll is a long poll whose connection was taken from net/http, first
// while it waits, and then until the next request comes.
//
// Most of what a peer that waits costs is that it asks again and again. So the
// bytes of a request are kept, and when the very same come again, or the same with
// another cursor, there is nothing to parse: the wait begins anew, and net/http
// does not hear of it.
type parkedPoll struct {
	parked // its session is nil once the poll is answered
	pollWait
	h        *Handler
	peer     inbox.Peer
	remote   netip.Addr // of the client
	unread   []byte     // what was read beyond the request
	readable bool       // there is more to read
	request  []byte     // nil if it is not known
	header   string
	close    bool
	program  bool // no browser has sent the request
	waited   bool // it came a while ago
	idled    bool // the last wait found nothing
}

func (p *parkedPoll) run(spot *park.Spot, e park.Events) {
	p.spot = spot
	p.readable = p.readable || e&park.Readable != 0
	if p.session == nil {
		p.next(e)
		return
	}
	// Not for what it may send meanwhile: a next request stays in the kernel. But
	// when that was watched for before, it is cheaper to be told.
	watch := park.Gone
	if p.request != nil {
		watch = park.Readable
	}
	p.drive(p, e, watch)
}

// found implements [transport].
func (p *parkedPoll) found(b inbox.Batch, err error) step {
	if p.goesOn(b, err) {
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
	if err := p.h.deliver(w, c, p.peer, p.session.Waker(), p.ask, b, err); err != nil {
		if errors.Is(err, context.Canceled) { // the client has left
			p.spot.Close()
			return
		}
		p.h.countFailure(meter.LongPoll, p.h.fail(w, err, p.program), p.remote)
	}
	p.session, p.idled = nil, idled
	p.answered(w)
}

// refuse answers the next request with an error, before it has done anything.
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

// answered ends an answer and waits for the next request.
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

// next waits for the next request. It hands the connection back when it is there,
// unless it is the same one.
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
		p.spot.HandBack(bytes.Clone(buffer[:n]), p.idled)
	default:
		if err := p.h.Clients.Request(p.remote); err != nil {
			p.refuse(err)
			return
		}
		p.session = p.h.session(p.peer, p.ask, p.spot.Wake)
		p.wait.Begin(p.h.Meter, meter.LongPoll)
		p.deadline, p.waited = time.Now().Add(p.ask.wait), false
		p.run(p.spot, park.Woken)
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
