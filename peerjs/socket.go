package peerjs

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/flight"
	"inbox/internal/gate"
	"inbox/internal/meter"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

const (
	window = 100 // messages per look
	rounds = 8   // looks before other work on this socket

	// maxLook bounds the bodies that are written at a time, in bytes, unless there is
	// only one. They stay in memory until the client reads them, even after they have
	// left the inbox.
	maxLook = 64 << 10

	// minAge is how old a socket becomes even if another one replaces it earlier. Without
	// it, two pages that share an id and a token and reconnect immediately would replace
	// each other without a pause.
	minAge = 2 * time.Second

	storeRetry = time.Second // pause before retrying while the store is unavailable

	// refusalTimeout is how long a refused client may take to read why and to close the
	// socket, as all clients do. Firefox drops a frame that is followed immediately by a
	// close.
	refusalTimeout = 2 * time.Second
)

// The close codes are the same as in inboxhttp. PeerJS clients ignore them.
var (
	closeRefused  = ws.StatusCode(problem.BadRequest.Close)
	closeReplaced = ws.StatusCode(problem.Replaced.Close)
	closeDraining = ws.StatusCode(problem.Draining.Close)
	closeLimited  = ws.StatusCode(problem.RateLimited.Close)
)

// refusal is a frame with the reason for which the server closes the socket.
type refusal string

func (refusal) Error() string { return "refused" }

// Socket serves the WebSocket of clients: /peerjs?key=…&id=…&token=…
func (h *Handler) Socket(w http.ResponseWriter, r *http.Request) {
	h.gate.Admit(w, r, func(w http.ResponseWriter, r *http.Request) {
		h.gate.Upgrade(w, r, &h.options, func() socket.Protocol {
			p := &peer{h: h, remote: clientaddr.Of(r.RemoteAddr)}
			p.refused = p.identify(r.URL.RawQuery)
			return p
		})
	})
}

// peer is the server's side of one socket. It implements [socket.Protocol].
type peer struct {
	h       *Handler
	refused refusal // set if the credentials are invalid
	told    bool    // the refusal was sent
	inbox   inbox.Peer
	session *inbox.Session
	since   time.Time
	begun   bool  // admitted by the limits
	opened  bool  // OPEN was sent
	left    bool  // the client has given its id back
	hold    *hold // nil until needed
	ends    ending
	drain   *gate.Drain // the drain that ends was set for
	wait    meter.Wait
	remote  netip.Addr // the client's address
}

// ending is the time and reason of a socket's end. The zero ending means none.
type ending struct {
	at  time.Time
	why error
}

// identify authenticates the client. It returns the refusal, or "".
func (p *peer) identify(query string) refusal {
	id, token, key := parameter(query, "id"), parameter(query, "token"), parameter(query, "key")
	switch {
	case id == "" || token == "" || key == "":
		return missing
	case key != p.h.Key:
		return wrongKey
	case len(id) > inbox.MaxID || !utf8.ValidString(id):
		return badID
	}
	var err error
	if p.inbox, err = p.h.Authenticator.Authenticate(inbox.Credentials{ID: p.h.prefix + id, Password: token, Client: p.remote}); err != nil {
		return idIsTaken
	}
	return ""
}

// parameter returns the first value of that name. Clients do not encode values, so a
// value that cannot be decoded is used as it is.
func parameter(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		value, found := strings.CutPrefix(pair, name+"=")
		if !found {
			continue
		}
		if decoded, err := url.QueryUnescape(value); err == nil {
			value = decoded
		}
		return strings.Clone(value)
	}
	return ""
}

// replaced reports whether another socket has replaced this one.
func (p *peer) replaced() bool { return errors.Is(p.session.Waker().Err(), inbox.ErrReplaced) }

func (p *peer) id() string { return p.inbox.ID[len(p.h.prefix):] }

// Look delivers the messages of the inbox and retries held messages.
func (p *peer) Look(s *socket.Socket, now time.Time) error {
	if p.since.IsZero() {
		p.since = now
	}
	if !p.begun {
		if err := p.h.Clients.Request(p.remote); err != nil {
			return p.h.gate.Delay(s, p.since, now, err)
		}
		p.begun = true
		if p.refused == "" {
			p.begin(s)
		}
	}
	if p.refused != "" || p.told {
		return p.refuse(s, now, p.refused)
	}
	again := time.Time{}
	sooner := func(t time.Time) {
		if again.IsZero() || t.Before(again) {
			again = t
		}
	}
	if !p.left && !p.replaced() {
		err := p.forward(s)
		switch {
		case err == nil:
			sooner(p.session.Again())
		case errors.Is(err, inbox.ErrReplaced): // handled below
		case isTemporary(err):
			if errors.Is(err, inbox.ErrRateLimited) && !p.opened {
				return p.h.gate.Delay(s, p.since, now, err)
			}
			if !errors.Is(err, inbox.ErrServerFull) && !errors.Is(err, inbox.ErrRateLimited) {
				p.h.logStore(err)
			}
			sooner(now.Add(storeRetry))
		default:
			if refused, ok := errors.AsType[refusal](err); ok {
				return p.refuse(s, now, refused)
			}
			return err
		}
	}
	if p.replaced() {
		p.h.exit(p)
		p.endBy(p.since.Add(minAge), inbox.ErrReplaced)
	}
	if after := p.retry(s, now); after > 0 {
		sooner(now.Add(after))
	}
	if d := p.h.gate.Draining(); d != p.drain {
		p.drain = d
		p.endBy(d.Moment(), inbox.ErrDraining)
	}
	if p.ends.why != nil {
		if !now.Before(p.ends.at) {
			return p.ends.why
		}
		sooner(p.ends.at)
	}
	s.LookAgain(again)
	return nil
}

// refuse sends the refusal and ends the socket a moment later.
func (p *peer) refuse(s *socket.Socket, now time.Time, why refusal) error {
	if !p.told {
		p.told = true
		p.h.count(why, p.remote)
		p.endBy(now.Add(refusalTimeout), why)
		if err := sendText(s, string(why)); err != nil {
			return err
		}
	}
	if !now.Before(p.ends.at) {
		return p.ends.why
	}
	s.LookAgain(p.ends.at)
	return nil
}

// forward writes the messages of the inbox and acknowledges them. A socket that takes
// over must not get them again: a second OFFER closes the connection that the first has
// made.
func (p *peer) forward(s *socket.Socket) error {
	written := 0
	for range rounds {
		b, err := p.session.Look(context.Background())
		switch {
		case errors.Is(err, inbox.ErrClosed):
			// By another socket of this peer, which this one has just replaced.
			p.begin(s)
			continue
		case errors.Is(err, inbox.ErrBadCursor): // the store was reset to an older state
			p.session.Acknowledge(inbox.Cursor{})
			continue
		case errors.Is(err, inbox.ErrUnauthorized):
			return refusal(idIsTaken)
		case errors.Is(err, inbox.ErrServerFull) && !p.opened:
			return refusal(serverFull)
		case err != nil:
			return err
		}
		if !p.opened {
			p.opened, p.inbox = true, p.session.Peer() // the peer is now marked as admitted
			p.wait.Begin(p.h.Meter, meter.PeerJS)
			p.h.enter(p)
			if err := sendText(s, openFrame); err != nil {
				return err
			}
		}
		if len(b.Messages) == 0 {
			p.session.Acknowledge(b.Cursor)
			return nil
		}
		messages, size := inbox.First(b.Messages, maxLook)
		cursor := messages[len(messages)-1].Cursor
		if err := p.write(s, messages, size); err != nil {
			return err
		}
		if err := s.Flush(); err != nil {
			return err
		}
		p.session.Acknowledge(cursor)
		if written += size; written >= maxLook {
			break
		}
	}
	s.Wake() // there may be more
	return nil
}

// begin starts a session. The next look opens the inbox.
func (p *peer) begin(s *socket.Socket) {
	p.session = inbox.NewSession(p.h.Store, p.inbox, inbox.Cursor{}, window, inbox.NewWaker(s.Wake), nil)
}

// write sends messages, whose bodies have size bytes in all, and drops its reference to
// each.
func (p *peer) write(s *socket.Socket, messages []inbox.Message, size int) error {
	if held := flight.Answer(size, false); held > 0 {
		if err := p.h.InFlight.Take(s.Client(), held); err != nil {
			return err
		}
		defer p.h.InFlight.Give(s.Client(), held)
	}
	for i := range messages {
		if err := p.h.sendMessage(s, &messages[i], p.id()); err != nil {
			return err
		}
		messages[i] = inbox.Message{}
	}
	return nil
}

func sendText(s *socket.Socket, text string) error {
	return s.Send(func(to []byte) []byte { return append(to, text...) })
}

// isTemporary reports whether err is a temporary failure of the store.
func isTemporary(err error) bool {
	_, refused := errors.AsType[refusal](err)
	return !refused && !errors.Is(err, socket.ErrGone)
}

// endBy schedules the end of the socket, unless it is scheduled earlier.
func (p *peer) endBy(at time.Time, why error) {
	if p.ends.why == nil || at.Before(p.ends.at) {
		p.ends = ending{at, why}
	}
}

// leave gives the id back, when the client asks for it or has gone. Senders of unread
// messages get EXPIRE.
func (p *peer) leave() {
	p.left = true
	p.h.exit(p)
	p.h.release(p.hold)
	p.hold = nil
	if !p.opened || p.replaced() {
		return
	}
	ctx := context.Background()
	b, err := p.session.Look(ctx)
	if err != nil {
		return // another socket has the inbox now, or it will expire
	}
	told := make(map[string]bool)
	for _, m := range b.Messages {
		if m.From != p.inbox.ID && !isExpire(m.Body) && !told[m.From] {
			told[m.From] = true
			p.put(m.From[len(p.h.prefix):], expireBody)
		}
	}
	if _, err := p.h.Store.Close(ctx, p.inbox, 0); err != nil {
		p.h.logStore(err)
	}
}

// End gives the id back and returns the close frame for why.
func (p *peer) End(s *socket.Socket, why error) socket.Close {
	p.wait.End()
	if !p.left && p.refused == "" {
		p.leave()
	}
	if frame, ok := errors.AsType[refusal](why); ok {
		if !p.told {
			p.h.count(why, p.remote)
			sendText(s, string(frame)) // fails if the client has gone
		}
		return socket.Close{Code: closeRefused, Reason: "refused"}
	}
	if c, ok := errors.AsType[socket.Close](why); ok {
		return c
	}
	switch {
	case errors.Is(why, inbox.ErrReplaced):
		return socket.Close{Code: closeReplaced, Reason: "replaced"}
	case errors.Is(why, inbox.ErrDraining):
		return socket.Close{Code: closeDraining, Reason: "draining"}
	case errors.Is(why, inbox.ErrRateLimited):
		return socket.Close{Code: closeLimited, Reason: "rate-limited"}
	}
	return socket.Close{Code: ws.StatusGoingAway} // the client has gone
}
