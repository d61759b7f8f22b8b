package inboxhttp

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"time"

	"inbox"
	"inbox/internal/park"
)

// parkAfter is how long a long poll waits in its handler before its connection
// is parked. In the middle of a handshake the next message comes sooner, and
// then costs no more than any request.
const parkAfter = 250 * time.Millisecond

// keepAlive is how long a connection that was parked is kept for a next request.
const keepAlive = 75 * time.Second

// poll is a GET that waits for one answer, or not at all.
func (h *Handler) poll(w http.ResponseWriter, r *http.Request, p inbox.Peer, a ask) error {
	c := client{ctx: r.Context(), http2: r.ProtoMajor >= 2}
	if a.wait == 0 || a.limit == 0 {
		b, err := h.Store.Receive(r.Context(), p, a.after, a.limit, nil)
		return h.deliver(w, c, p, nil, a, b, err)
	}
	receiver := inbox.NewReceiver(h.draining)
	b, err := h.Store.Receive(r.Context(), p, a.after, a.limit, receiver)
	if err != nil || len(b.Messages) > 0 || b.Reset {
		return h.deliver(w, c, p, receiver, a, b, err)
	}
	c.waited = true
	wait := a.wait
	parks := h.canPark(r)
	if parks {
		wait = min(wait, parkAfter)
	}
	b, err = receiver.Receive(r.Context(), h.Store, p, a.after, a.limit, wait)
	if err != nil || len(b.Messages) > 0 || b.Reset || wait == a.wait {
		return h.deliver(w, c, p, receiver, a, b, err)
	}
	var header bytes.Buffer
	w.Header().Write(&header)
	conn, more, err := park.Hijack(w)
	if err != nil {
		return err
	}
	parked := &parkedPoll{
		h: h, peer: p, ask: a, deadline: time.Now().Add(a.wait - wait), receiver: receiver,
		conn: conn, more: more, header: h.headers.of(header.Bytes()), close: r.Close,
	}
	receiver.OnWake(h.lot.Park(conn, parked.run).Wake)
	return nil
}

// parkedPoll is a long poll whose connection was taken from net/http, first
// while it waits, and then until the next request comes.
type parkedPoll struct {
	h        *Handler
	spot     *park.Spot
	receiver *inbox.Receiver // nil once it is answered
	peer     inbox.Peer
	ask      ask
	deadline time.Time // of the wait, or of the next request
	conn     net.Conn
	more     []byte // what was read beyond the request
	header   string
	close    bool
}

func (p *parkedPoll) run(spot *park.Spot, e park.Events) {
	p.spot = spot
	if p.receiver == nil {
		p.next(e)
		return
	}
	if e&park.Gone != 0 && state(connContext(p.conn)) != open {
		p.receiver.Leave(context.Background(), p.h.Store, p.peer)
		p.end()
		return
	}
	var b inbox.Batch
	var err error
	if p.h.Draining() {
		p.receiver.Leave(context.Background(), p.h.Store, p.peer)
		err = inbox.ErrDraining
	} else {
		b, err = p.h.Store.Receive(context.Background(), p.peer, p.ask.after, p.ask.limit, p.receiver)
	}
	left := time.Until(p.deadline)
	if err == nil && len(b.Messages) == 0 && !b.Reset && left > 0 {
		p.spot.Rest(min(left, b.TTL/2))
		// Not for what it may send meanwhile: a next request stays in the kernel.
		if err := p.spot.Watch(park.Gone); err != nil {
			p.h.Log.Error("a connection cannot be watched", "error", err)
			p.end()
		}
		return
	}
	p.answer(b, err)
}

func (p *parkedPoll) answer(b inbox.Batch, err error) {
	w := &answer{conn: p.conn, common: p.header, close: p.close || p.h.Draining(), header: make(http.Header)}
	c := client{ctx: connContext(p.conn), waited: true}
	if err := p.h.deliver(w, c, p.peer, p.receiver, p.ask, b, err); err != nil {
		if err == context.Canceled { // the client has left
			p.end()
			return
		}
		p.h.fail(w, err)
	}
	if w.finish() != nil || w.close {
		p.end()
		return
	}
	p.receiver, p.peer, p.header = nil, inbox.Peer{}, ""
	p.deadline = time.Now().Add(keepAlive)
	p.next(0)
}

// next waits for the next request, and hands the connection back when it is
// there.
func (p *parkedPoll) next(e park.Events) {
	switch {
	case len(p.more) > 0:
		p.spot.Leave()
		p.h.back.handBack(&prefixed{p.conn, p.more})
	case e&park.Readable != 0:
		p.spot.Leave()
		p.h.back.handBack(p.conn)
	case p.h.Draining() || e&park.Gone != 0 || !time.Now().Before(p.deadline):
		p.end()
	default:
		p.spot.Rest(time.Until(p.deadline))
		if err := p.spot.Watch(park.Readable); err != nil {
			p.end()
		}
	}
}

func (p *parkedPoll) end() {
	p.spot.Leave()
	p.conn.Close()
}
