package inboxhttp

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"inbox"
	"inbox/internal/park"
)

// subprotocol is what Sec-WebSocket-Protocol has to name.
const subprotocol = "inbox.v1"

const (
	openTimeout  = 5 * time.Second  // until the first frame
	pingEvery    = 20 * time.Second // of a socket that is silent
	pongTimeout  = 10 * time.Second
	frameTimeout = 10 * time.Second // from a message's first byte to its last

	windowMessages = 32        // unacknowledged on the wire
	windowBytes    = 256 << 10 // of their bodies
)

// The close codes of our own (RFC 6455, 7.4.2).
const (
	closeBadRequest   ws.StatusCode = 4400
	closeUnauthorized ws.StatusCode = 4401
	closeNoOpen       ws.StatusCode = 4408
	closeReplaced     ws.StatusCode = 4409
	closeClosed       ws.StatusCode = 4410
	closeTooLarge     ws.StatusCode = 4413
	closeDraining     ws.StatusCode = 1012
	closeTryLater     ws.StatusCode = 1013
)

func isUpgrade(header http.Header) bool {
	return strings.EqualFold(header.Get("Upgrade"), "websocket")
}

// socket is a GET that becomes a WebSocket.
func (h *Handler) socket(w http.ResponseWriter, r *http.Request) error {
	if err := checkHandshake(r); err != nil {
		if problemOf(err).status == http.StatusUpgradeRequired {
			w.Header().Set("Sec-WebSocket-Version", "13")
			w.Header().Set("Upgrade", "websocket")
		}
		return err
	}
	s := &socket{h: h}
	// A browser sends no Authorization of a page's own choice here, but may add
	// one that it remembers: what comes with an Origin does not count.
	if r.Header.Get("Origin") == "" && len(r.Header["Authorization"]) > 0 {
		p, err := h.peer(r)
		if err != nil {
			return err
		}
		after, err := socketPosition(r)
		if err != nil {
			return err
		}
		s.open(p, after, inbox.NewReceiver(nil))
		if _, err := h.Store.Receive(r.Context(), p, after, 0, s.receiver); err != nil {
			return err
		}
	}
	conn, early, err := hijack(w)
	if err != nil {
		return err
	}
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Sec-WebSocket-Accept", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	w.Header().Set("Sec-WebSocket-Protocol", subprotocol)
	first := &answer{conn: conn, header: w.Header(), status: http.StatusSwitchingProtocols}
	first.head()
	if first.send() != nil {
		conn.Close()
		return nil
	}
	s.conn, s.early = conn, early
	if s.receiver == nil {
		s.deadline = time.Now().Add(openTimeout)
		h.lot.Park(conn, s.run).Wake()
	} else {
		s.deadline = time.Now().Add(pingEvery)
		s.receiver.OnWake(h.lot.Park(conn, s.run).Wake)
	}
	return nil
}

func socketPosition(r *http.Request) (inbox.Cursor, error) {
	q, err := query(r, "after")
	if err != nil || !q.Has("after") {
		return inbox.Cursor{}, err
	}
	return inbox.ParseCursor(q.Get("after"))
}

func checkHandshake(r *http.Request) error {
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1 || !listed(r.Header["Connection"], func(s string) bool { return strings.EqualFold(s, "upgrade") }):
		return badRequest("A WebSocket begins with an Upgrade over HTTP/1.1.")
	case r.ContentLength != 0:
		return badRequest("A GET has no body.")
	case !isKey(r.Header["Sec-Websocket-Key"]):
		return badRequest("There has to be one Sec-WebSocket-Key, of 16 bytes in base64.")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return problem{http.StatusUpgradeRequired, "bad-request", "The version of the WebSocket protocol is 13."}
	case !listed(r.Header["Sec-Websocket-Protocol"], func(s string) bool { return s == subprotocol }):
		return badRequest("The Sec-WebSocket-Protocol has to be " + subprotocol + ".")
	}
	return nil
}

// listed looks for an element of a header that is a list.
func listed(lines []string, is func(string) bool) bool {
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			if is(strings.TrimSpace(part)) {
				return true
			}
		}
	}
	return false
}

func isKey(lines []string) bool {
	if len(lines) != 1 {
		return false
	}
	nonce, err := base64.StdEncoding.DecodeString(lines[0])
	return err == nil && len(nonce) == 16
}

// acceptKey answers a Sec-WebSocket-Key (RFC 6455, 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// socket is one WebSocket. It is parked all its life; what follows runs in the
// function of its spot.
type socket struct {
	h        *Handler
	spot     *park.Spot
	conn     net.Conn
	receiver *inbox.Receiver // nil until opened
	peer     inbox.Peer
	acked    inbox.Cursor
	greet    bool      // opened is to be said
	look     bool      // into the inbox
	pinged   bool      // and nothing was heard since
	deadline time.Time // of the open frame, then of the next ping or of its pong
	again    time.Time // when to look into the inbox at the latest
	timer    time.Time // when the spot's Timeout comes

	early      []byte // read beyond the handshake
	fragmented bool   // a message has begun
	fragment   []byte // what came of it
	begun      time.Time
}

// open makes this socket the peer's receiver, by the next look.
func (s *socket) open(p inbox.Peer, after inbox.Cursor, r *inbox.Receiver) {
	s.peer, s.acked, s.receiver, s.greet = p, after, r, true
}

func (s *socket) run(spot *park.Spot, e park.Events) {
	s.spot = spot
	now := time.Now()
	out := newFrames()
	defer out.free()
	err := s.step(e, now, out)
	if err == nil && out.Len() > 0 {
		err = s.write(out)
	}
	if err == nil {
		err = s.rest(now)
	}
	if err != nil {
		s.end(err, out)
	}
}

// step does what there is to do and leaves what there is to say in out.
func (s *socket) step(e park.Events, now time.Time, out *frames) error {
	if s.greet && !s.h.Draining() { // opened at the handshake: that comes first
		if err := s.deliver(now, out); err != nil {
			return err
		}
	}
	if e&(park.Readable|park.Gone) != 0 || len(s.early) > 0 {
		if err := s.read(now, out); err != nil {
			return err
		}
	}
	if s.h.Draining() {
		return inbox.ErrDraining
	}
	if s.receiver == nil {
		if !now.Before(s.deadline) {
			return errNoOpen
		}
		return nil
	}
	if s.fragmented && now.Sub(s.begun) >= frameTimeout {
		return closing{ws.StatusPolicyViolation, "a message took too long to arrive"}
	}
	if !now.Before(s.deadline) {
		if s.pinged {
			return errGone
		}
		out.control(ws.OpPing, nil)
		s.pinged, s.deadline = true, now.Add(pongTimeout)
	}
	if s.look || e&(park.Woken|park.Timeout) != 0 {
		return s.deliver(now, out)
	}
	return nil
}

// deliver looks into the inbox and sends what the window has room for.
func (s *socket) deliver(now time.Time, out *frames) error {
	s.look = false
	b, err := s.h.Store.Receive(context.Background(), s.peer, s.acked, windowMessages, s.receiver)
	if err != nil {
		return err
	}
	s.again = now.Add(b.TTL / 2)
	if s.greet || b.Reset {
		out.opened(b)
		s.greet = false
	}
	if b.Reset {
		s.acked = inbox.Cursor{}
	}
	fresh := s.receiver.Fresh(b.Messages)
	inFlight := 0
	for _, m := range b.Messages[:len(b.Messages)-len(fresh)] {
		inFlight += len(m.Body)
	}
	for _, m := range fresh {
		if inFlight > 0 && inFlight+len(m.Body) > windowBytes {
			break
		}
		inFlight += len(m.Body)
		out.message(m)
		s.receiver.Sent(m.Cursor)
		if out.Len() > flushAt {
			if err := s.write(out); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *socket) write(out *frames) error {
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := s.conn.Write(out.Bytes())
	out.Reset()
	if err != nil {
		return errGone
	}
	return nil
}

// rest ends a run: nothing is kept but what waits.
func (s *socket) rest(now time.Time) error {
	next := s.deadline
	if s.receiver != nil && s.again.Before(next) {
		next = s.again
	}
	if limit := s.begun.Add(frameTimeout); s.fragmented && limit.Before(next) {
		next = limit
	}
	// A timer that comes too early costs less than setting it in every run.
	if !s.timer.After(now) || next.Before(s.timer) {
		s.timer = next
		s.spot.Rest(next.Sub(now))
	}
	return s.spot.Watch(park.Readable)
}

// errGone says that there is nobody to tell.
var errGone = errors.New("the client is gone")

// closing is an error that a close frame tells the client.
type closing struct {
	code   ws.StatusCode
	reason string
}

func (c closing) Error() string { return c.reason }

var errNoOpen = closing{closeNoOpen, "no open frame in time"}

func closingOf(err error) closing {
	if c, ok := errors.AsType[closing](err); ok {
		return c
	}
	p := problemOf(err)
	code := closeTryLater
	switch p.code {
	case "bad-cursor", "bad-request", "bad-credentials":
		code = closeBadRequest
	case "unauthorized":
		code = closeUnauthorized
	case "replaced":
		code = closeReplaced
	case "closed":
		code = closeClosed
	case "too-large":
		code = closeTooLarge
	case "draining":
		code = closeDraining
	}
	return closing{code, p.code}
}

// end says why, if anybody is there to hear it, and closes. It waits a little for
// the client to close too: a connection that is closed with bytes unread is
// reset, and the close frame may be lost.
func (s *socket) end(why error, out *frames) {
	defer s.spot.Leave()
	defer s.conn.Close()
	if !s.again.IsZero() { // it was the inbox's receiver
		s.receiver.Leave(context.Background(), s.h.Store, s.peer)
	}
	if errors.Is(why, errGone) {
		return
	}
	if _, ok := errors.AsType[closing](why); !ok {
		s.h.logStore(why)
	}
	out.control(ws.OpClose, closeBody(closingOf(why)))
	if s.write(out) == nil {
		linger(s.conn)
	}
}
