package inboxhttp

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/gobwas/ws"

	"inbox"
	"inbox/internal/flight"
	"inbox/internal/meter"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

const (
	openTimeout = 5 * time.Second // to receive the first frame

	windowMessages = 32        // unacknowledged messages on the wire
	windowBytes    = 256 << 10 // unacknowledged bytes of bodies on the wire
)

// socketOptions returns the options of a socket that the handshake opens, and of one that
// its first frame has to open.
func socketOptions(c Config) (opened, unopened socket.Options) {
	opened = socket.Options{
		Subprotocol: "inbox.v1",
		MaxMessage:  2*c.MaxBody + 4<<10, // escaped or in base64, plus the rest of the object
		TooLarge:    ws.StatusCode(problem.TooLarge.Close),
		InFlight:    c.InFlight,
		Frame:       c.Clients.Frame,
	}
	unopened = opened
	unopened.FirstMessage = openTimeout
	return opened, unopened
}

// socket handles a GET that becomes a WebSocket.
func (h *Handler) socket(w http.ResponseWriter, r *http.Request) error {
	options := &h.unopened
	if err := socket.Check(w, r, options); err != nil {
		return refusedHandshake(err)
	}
	p := &socketPeer{h: h}
	var waker *inbox.Waker // set if the handshake opens the inbox
	// Pages cannot set Authorization on a WebSocket handshake, but a browser may add
	// credentials that it remembers. So Authorization does not count when there is an
	// Origin.
	authorized, fromPage := len(r.Header["Authorization"]) > 0, r.Header.Get("Origin") != ""
	p.ignored = authorized && fromPage
	if authorized && !fromPage {
		options = &h.opened
		peer, err := h.peer(r)
		if err != nil {
			return err
		}
		after, err := socketPosition(r)
		if err != nil {
			return err
		}
		waker = inbox.NewWaker(nil)
		// The limit is 0: messages are sent after the handshake.
		if _, err := h.Store.Look(r.Context(), peer, after, 0, waker); err != nil {
			return err
		}
		peer.Admitted = true
		p.open(peer, after, waker)
		p.waits = true
	}
	wake, err := socket.Accept(w, r, h.Lot, options, p)
	if err != nil {
		return nil // the client has left, or the connection cannot be hijacked
	}
	h.Meter.Request(meter.Socket, http.StatusSwitchingProtocols)
	if waker != nil {
		waker.Notify(wake)
	}
	return nil
}

// opensByFrame reports whether a request is a handshake whose socket is opened by its first
// frame. Browsers hide the answer to a refused handshake from the page, so the server
// refuses these sockets with a close code.
func opensByFrame(r *http.Request) bool {
	return socket.IsUpgrade(r.Header) && (len(r.Header["Authorization"]) == 0 || r.Header.Get("Origin") != "")
}

// refuseSocket completes the handshake, so that the page can read the close code, and
// closes the socket.
func (h *Handler) refuseSocket(w http.ResponseWriter, r *http.Request, why error) error {
	if socket.Check(w, r, &h.unopened) != nil {
		return why
	}
	// An error means that the client has left.
	_, _ = socket.Accept(w, r, h.Lot, &h.unopened, &socketPeer{h: h, refused: why})
	return nil
}

// refusedHandshake converts a HandshakeError, or the error of socket.NoBody, into a
// problem.
func refusedHandshake(err error) error {
	refused, _ := errors.AsType[socket.HandshakeError](err)
	for _, p := range []problem.Problem{problem.UpgradeRequired, problem.TooSlow} {
		if p.Status == refused.Status {
			return p.With(refused.Detail)
		}
	}
	return problem.BadRequest.With(refused.Detail)
}

func socketPosition(r *http.Request) (inbox.Cursor, error) {
	q, err := query(r, "after")
	if err != nil || !q.Has("after") {
		return inbox.Cursor{}, err
	}
	return inbox.ParseCursor(q.Get("after"))
}

// socketPeer is the server's side of one socket. It implements [socket.Protocol].
type socketPeer struct {
	h       *Handler
	refused error          // why the socket is closed after the handshake
	session *inbox.Session // nil until opened
	greet   bool           // the opened frame has not been sent yet
	ignored bool           // the handshake had credentials, which the server ignored
	waits   bool           // it is or was the receiver of the inbox
	wait    meter.Wait
}

// open starts a session, which becomes the inbox's receiver with its next look.
func (p *socketPeer) open(peer inbox.Peer, after inbox.Cursor, w *inbox.Waker) {
	p.session, p.greet = inbox.NewSession(p.h.Store, peer, after, windowMessages, w, p.h.draining), true
}

// Look looks into the inbox and sends as many messages as the window allows.
func (p *socketPeer) Look(s *socket.Socket, now time.Time) error {
	if p.session == nil {
		if p.refused != nil {
			return p.refused
		}
		if p.h.Draining() {
			return inbox.ErrDraining
		}
		return nil
	}
	b, err := p.session.Look(context.Background())
	if err != nil {
		return err
	}
	p.waits = true
	p.wait.Begin(p.h.Meter, meter.Socket)
	s.LookAgain(p.session.Again())
	if p.greet || b.Reset {
		if err := s.Send(func(to []byte) []byte { return appendOpened(to, b, p.h.MaxBody) }); err != nil {
			return err
		}
		p.greet = false
	}
	fresh := p.session.Fresh(b.Messages)
	inFlight, n := 0, 0
	for _, m := range b.Messages[:len(b.Messages)-len(fresh)] {
		inFlight += len(m.Body)
	}
	for n < len(fresh) && (inFlight == 0 || inFlight+len(fresh[n].Body) <= windowBytes) {
		inFlight += len(fresh[n].Body)
		n++
	}
	messages, size := inbox.First(fresh[:n], maxAnswer)
	if len(messages) < n {
		s.Wake() // send the rest in another run
	}
	return p.write(s, messages, size)
}

// write sends messages, whose bodies have size bytes in all, and drops its reference to
// each.
func (p *socketPeer) write(s *socket.Socket, messages []inbox.Message, size int) error {
	if held := flight.Answer(size, false); held > 0 {
		if err := p.h.InFlight.Take(s.Client(), held); err != nil {
			return err
		}
		defer p.h.InFlight.Give(s.Client(), held)
	}
	const start = `"type":"message",`
	for i := range messages {
		m := &messages[i]
		p.session.Sent(m.Cursor)
		err := s.SendLong(messageSize(start, m), func(to []byte, write func([]byte) error) []byte {
			out := pieces{buf: to, write: write}
			out.message(start, m)
			return out.buf
		})
		if err != nil {
			return err
		}
		messages[i] = inbox.Message{}
	}
	return nil
}

// Message handles one frame from the client.
func (p *socketPeer) Message(s *socket.Socket, now time.Time, text []byte) error {
	var q request
	if err := q.parse(text); err != nil {
		return socket.Close{Code: ws.StatusInvalidFramePayloadData, Reason: "a message must be a JSON object"}
	}
	switch {
	case p.session == nil && q.kind != "open":
		return closeFor(problem.BadRequest, p.unopened("the first frame must have the type open"))
	case p.session == nil:
		if err := p.handleOpen(s, &q); err != nil {
			return err
		}
		return p.Look(s, now) // send opened before answering any frames that follow
	case q.kind == "send":
		err := p.send(s.Client(), &q)
		if errors.Is(err, inbox.ErrRateLimited) && !p.h.Clients.Listens(s.Client()) {
			return err
		}
		p.countSend(s.Client(), err)
		return s.Send(func(to []byte) []byte { return appendSent(to, &q, err) })
	case q.kind == "join", q.kind == "leave":
		members, err := p.room(s.Client(), &q)
		if errors.Is(err, inbox.ErrRateLimited) && !p.h.Clients.Listens(s.Client()) {
			return err
		}
		p.countSend(s.Client(), err)
		return s.Send(func(to []byte) []byte { return appendRoomAnswer(to, &q, members, err) })
	case q.kind == "ack":
		if err := p.h.Clients.Frame(s.Client()); err != nil {
			return err
		}
		after, err := inbox.ParseCursor(q.after)
		if err != nil {
			return err
		}
		p.session.Acknowledge(after)
		s.LookSoon()
		return nil
	default:
		return closeFor(problem.BadRequest, "the type of a frame must be send, ack, join or leave")
	}
}

func (p *socketPeer) handleOpen(s *socket.Socket, q *request) error {
	peer, err := p.h.authenticate(inbox.Credentials{ID: q.id, Password: q.password, Client: s.Client()})
	if err != nil {
		return err
	}
	after := inbox.Cursor{}
	if q.hasAfter {
		if after, err = inbox.ParseCursor(q.after); err != nil {
			return err
		}
	}
	p.open(peer, after, inbox.NewWaker(s.Wake))
	return nil
}

// send executes a send frame. The caller turns the returned error into the answer.
func (p *socketPeer) send(client netip.Addr, q *request) error {
	if err := p.h.Clients.Request(client); err != nil {
		return err
	}
	if err := inbox.CheckID(q.to); err != nil {
		return badRecipient(sentence(err))
	}
	if q.key != "" {
		if err := inbox.CheckKey(q.key); err != nil {
			q.key = "" // do not echo an invalid key
			return problem.BadKey.With(sentence(err))
		}
	}
	if q.hasBody == q.hasBody64 {
		return badRequest("A send needs either body or body64, not both.")
	}
	if q.hasBody64 {
		n, err := base64.StdEncoding.Decode(q.body, q.body)
		if err != nil {
			return badRequest("The body64 is not valid base64.")
		}
		q.body = q.body[:n]
	}
	if len(q.body) > p.h.MaxBody {
		return problem.TooLarge
	}
	replayed, err := p.h.submit(context.Background(), client, p.session.Peer(), q.to, inbox.Draft{Key: q.key, Body: q.body})
	p.h.logStore(err)
	if err == nil && replayed {
		return errReplayed
	}
	return err
}

func (p *socketPeer) countSend(client netip.Addr, err error) {
	if err == nil || err == errReplayed {
		p.h.Meter.Request(meter.Socket, http.StatusOK)
		return
	}
	p.h.countFailure(meter.Socket, problemOf(err), client)
}

// room executes a join or leave frame. The caller turns the returned error into the answer.
func (p *socketPeer) room(client netip.Addr, q *request) (members []string, err error) {
	if err := p.h.Clients.Request(client); err != nil {
		return nil, err
	}
	if err := checkRoom(q.room); err != nil {
		q.room = "" // do not echo an invalid name
		return nil, err
	}
	if q.kind == "join" {
		members, err = p.h.enter(context.Background(), client, p.session.Peer(), q.room)
	} else {
		err = p.h.exit(context.Background(), client, p.session.Peer(), q.room)
	}
	p.h.logStore(err)
	return members, err
}

// errReplayed means that a send succeeded earlier with the same key.
var errReplayed = errors.New("replayed")

// End leaves the inbox, which lives for another TTL, and returns the close frame for why.
func (p *socketPeer) End(s *socket.Socket, why error) socket.Close {
	p.wait.End()
	if p.waits {
		p.session.Leave(context.Background())
	}
	c := p.closeOf(why)
	if told, ok := problem.OfClose(int(c.Code)); ok {
		p.h.countFailure(meter.Socket, told, s.Client())
	}
	return c
}

// closeOf converts the reason why a socket ends into a close frame.
func (p *socketPeer) closeOf(why error) socket.Close {
	if c, ok := errors.AsType[socket.Close](why); ok {
		return c
	}
	switch {
	case errors.Is(why, socket.ErrGone):
		return socket.Close{}
	case errors.Is(why, socket.ErrNoMessage):
		return closeFor(problem.TooSlow, p.unopened("no open frame in time"))
	}
	p.h.logStore(why)
	because := problemOf(why)
	if because.Close == 0 {
		because = problem.StoreUnavailable
	}
	return closeFor(because, because.Code)
}

// unopened returns the close reason of a socket whose first frame was missing or wrong.
func (p *socketPeer) unopened(reason string) string {
	if p.ignored {
		reason += ": the server ignores Authorization when Origin is present"
	}
	return reason
}

// closeFor returns the close frame for a problem. The reason is for people.
func closeFor(p problem.Problem, reason string) socket.Close {
	return socket.Close{Code: ws.StatusCode(p.Close), Reason: reason}
}
