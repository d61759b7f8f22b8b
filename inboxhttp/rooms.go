package inboxhttp

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/jsontext"
)

// eventsPerRequest is how many events that a join or a leave causes count as one request
// against the limit of the client's address.
const eventsPerRequest = 8

// join handles PUT ?room=<name>: it makes the peer a member of the room.
func (h *Handler) join(w http.ResponseWriter, r *http.Request) error {
	p, err := h.peer(r)
	if err != nil {
		return err
	}
	q, err := query(r, "room")
	if err != nil {
		return err
	}
	room := q.Get("room")
	if err := checkRoom(room); err != nil {
		return err
	}
	members, err := h.enter(r.Context(), clientaddr.Of(r.RemoteAddr), p, room)
	if err != nil {
		return err
	}
	h.answerJSON(w, struct {
		Members []string `json:"members"`
	}{members})
	return nil
}

func checkRoom(name string) error {
	if err := inbox.CheckRoom(name); err != nil {
		return badRequest(sentence(err))
	}
	return nil
}

// enter makes p a member of a room and charges its address for the events that this causes.
func (h *Handler) enter(ctx context.Context, client netip.Addr, p inbox.Peer, room string) ([]string, error) {
	members, err := h.Store.Join(ctx, p, room)
	switch err {
	case nil:
		h.Clients.Charge(client, len(members)/eventsPerRequest)
	case inbox.ErrRoomFull: // the store has looked at all members
		h.Clients.Charge(client, inbox.Limits{}.WithDefaults().RoomMembers/eventsPerRequest)
	}
	return members, err
}

// leave handles DELETE ?room=<name>.
func (h *Handler) leave(r *http.Request, p inbox.Peer, q url.Values) error {
	if q.Has("life") {
		return badRequest("A request either leaves a room or closes an inbox: send room or life.")
	}
	if err := checkRoom(q.Get("room")); err != nil {
		return err
	}
	return h.exit(r.Context(), clientaddr.Of(r.RemoteAddr), p, q.Get("room"))
}

// exit ends p's membership of a room and charges its address for the events that this causes.
func (h *Handler) exit(ctx context.Context, client netip.Addr, p inbox.Peer, room string) error {
	left, err := h.Store.LeaveRoom(ctx, p, room)
	h.Clients.Charge(client, left/eventsPerRequest)
	return err
}

// appendMembers appends the member of a JSON object that lists the members of a room.
func appendMembers(to []byte, members []string) []byte {
	to = append(to, `"members":[`...)
	for i, id := range members {
		if i > 0 {
			to = append(to, ',')
		}
		to = jsontext.AppendString(to, id)
	}
	return append(to, ']')
}

// withoutEvents is a store for raw polls that did not ask for events. It removes those that
// are older than the message it returns.
type withoutEvents struct{ inbox.Store }

// Look implements [inbox.Store]. It returns at most one message. As long as it finds only
// events, it looks at more messages at a time, so that hundreds of events take a few calls
// of the store.
func (s withoutEvents) Look(ctx context.Context, p inbox.Peer, after inbox.Cursor, limit int, w *inbox.Waker) (inbox.Batch, error) {
	const most = 64
	reset := false
	for n := limit; ; {
		b, err := s.Store.Look(ctx, p, after, n, w)
		b.Reset = b.Reset || reset
		if err != nil || len(b.Messages) == 0 {
			return b, err
		}
		events := slices.IndexFunc(b.Messages, func(m inbox.Message) bool { return !isEvent(m) })
		switch events {
		case 0:
			b.Messages, b.Cursor = b.Messages[:1], b.Messages[0].Cursor
			return b, nil
		case -1:
			events, n = len(b.Messages), min(4*n, most)
		default:
			n = limit
		}
		reset, after = b.Reset, b.Messages[events-1].Cursor
	}
}

func isEvent(m inbox.Message) bool { return m.FromServer() }

// appendRoomAnswer appends the answer to a join or leave frame: a joined or left frame, or
// an error frame for err.
func appendRoomAnswer(to []byte, q *request, members []string, err error) []byte {
	switch {
	case err != nil:
		to = appendError(to, err)
	case q.kind == "join":
		to = append(to, `{"type":"joined",`...)
		to = appendMembers(to, members)
	default:
		to = append(to, `{"type":"left"`...)
	}
	to = append(to, `,"room":`...)
	to = jsontext.AppendString(to, q.room)
	return append(to, '}')
}

// appendError appends the start of an error frame.
func appendError(to []byte, err error) []byte {
	p := problemOf(err)
	to = append(to, `{"type":"error","code":"`+p.Code+`","status":`...)
	to = strconv.AppendInt(to, int64(p.Status), 10)
	if p.RetryAfter > 0 {
		to = append(to, `,"retryAfter":`...)
		to = strconv.AppendInt(to, int64(p.Seconds()), 10)
	}
	return to
}
